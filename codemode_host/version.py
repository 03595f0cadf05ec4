"""Which version of the host this is; pyproject.toml says the same."""

VERSION = "0.1.0"
