"""What helps people to understand an answer: contributions, neighbours, charts."""
