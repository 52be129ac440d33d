"""Models and their versions, loaded and asked, free of any protocol."""
