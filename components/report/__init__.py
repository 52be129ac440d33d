"""The report of one run: for people to read, for machines to check, and for the model to carry as its card."""
