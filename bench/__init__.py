"""Benchmarks: what is claimed in numbers, measured."""
