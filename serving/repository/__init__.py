"""What a version on disk is: the contract between those who push and those who serve."""
