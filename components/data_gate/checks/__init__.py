"""What the data gate looks for: a file for each family of findings."""
