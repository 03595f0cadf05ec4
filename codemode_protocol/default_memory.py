"""The memory of a cell where nothing else is said; apart from the other limits, for a host needs it first."""

DEFAULT_MEMORY_BYTES = 512 * 1024 * 1024
"""Room for a million promises that are awaited together, which take 410 MiB, and 500 with `Promise.allSettled`.

What a cell does not fill costs nothing, whatever the limit.
"""
