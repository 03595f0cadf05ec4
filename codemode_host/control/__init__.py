"""The control socket, through which other programs list and end a running host's cells."""
