"""What stops a step."""

from __future__ import annotations


class TrainingError(Exception):
    """A step that cannot be done; the message says what to do."""


class TrainingRefusedError(TrainingError):
    """The data cannot teach a model, or there is none: a step has nothing to do, and the champion stays."""


class StateError(TrainingError):
    """What an earlier step should have left is not there or does not fit."""
