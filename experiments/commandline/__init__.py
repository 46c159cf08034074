"""How the programs are called: flags and what they accept, and the terminal they write to."""
