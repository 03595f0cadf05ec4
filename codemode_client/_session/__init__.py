"""Sessions on a host process: the core of the client."""
