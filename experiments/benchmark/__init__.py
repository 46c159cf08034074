"""How long training takes, and where the time goes."""
