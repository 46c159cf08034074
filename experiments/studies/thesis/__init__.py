"""The thesis's study: its cells, what it published, and how ours agree with it."""
