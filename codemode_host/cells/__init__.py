"""Sessions and cells, whoever they are for: no connection, no frame."""
