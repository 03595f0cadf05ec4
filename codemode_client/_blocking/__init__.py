"""A provider on an event loop in a thread of its own, for callers without one."""
