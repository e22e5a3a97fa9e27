"""What the project costs, each figure beside its peer's from the same run: ``python -m benchmarks``."""
