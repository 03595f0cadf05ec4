"""A host process: spawned, written to, reaped."""
