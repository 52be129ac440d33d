"""The files that the server's flags name."""
