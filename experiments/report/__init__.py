"""What results look like: summaries, tables in several formats, figures."""
