"""Measures the project's costs, each figure with its peer's from the same run: ``python -m benchmarks``."""
