"""Whether the cases that a version answers still look like the data it was made from."""
