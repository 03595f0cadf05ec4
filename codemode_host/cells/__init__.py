"""Sessions and cells, without connections or frames."""
