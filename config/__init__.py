"""Typed, frozen settings and the files that fill them."""
