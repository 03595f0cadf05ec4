"""What runs in a cell's process alone, after the fork."""
