"""`exec` and `wait` for a model."""
