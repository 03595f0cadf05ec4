"""The host: sessions of cells, each cell a confined JavaScript runtime in a process of its own."""
