"""The tests; a package by name, as some library brings one called `tests`, too."""
