"""Host processes."""
