"""A cell's process, after the fork."""
