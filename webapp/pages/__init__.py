"""The pages: a module each, with its `blueprint`, and what they share."""
