"""What can be said about the pushed versions, which of them answers, and changing that."""
