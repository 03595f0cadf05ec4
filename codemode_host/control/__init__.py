"""The control socket: what a running host is asked from outside."""
