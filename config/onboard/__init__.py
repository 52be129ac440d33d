"""What `init` does: look at data that nobody has described yet and write its configuration."""
