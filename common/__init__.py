"""What every room may import, and nothing of ours: errors, files, paths, command lines, text, tables, charts."""
