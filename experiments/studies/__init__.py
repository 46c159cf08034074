"""Studies: which cells, and what they are to show."""
