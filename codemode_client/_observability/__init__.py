"""Logs and spans."""
