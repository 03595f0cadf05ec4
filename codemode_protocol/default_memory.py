"""The memory of a cell where nothing else is said: apart from the other limits, because a host needs it before all else."""

DEFAULT_MEMORY_BYTES = 256 * 1024 * 1024
