"""Studies that were made with these programs: which cells they train and what they report.

`thesis` is the one that all began with, `lowbit` asks what trains with few bits. Each is a room of
its own; `lowbit` marks what the thesis published.
"""
