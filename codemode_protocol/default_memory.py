"""The memory of a cell where nothing else is said; apart from the other limits, for a host needs it first."""

DEFAULT_MEMORY_BYTES = 256 * 1024 * 1024
