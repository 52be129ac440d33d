"""What TFX calls: our components, and the functions its own components import by path."""
