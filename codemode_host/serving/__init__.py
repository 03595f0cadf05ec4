"""One client's connection: its descriptors, its messages, and what its host says on standard error."""
