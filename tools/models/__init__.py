"""Fetches, converts, verifies and packs pre-trained models for SageMaker: ``python -m tools.models``.

Runs in an environment of its own (`locks/pack.txt`); ``make models`` installs it.
"""
