"""A provider on an event loop in a background thread, for callers without one."""
