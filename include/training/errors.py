"""The errors of a step."""

from __future__ import annotations


class TrainingError(Exception):
    """A step that cannot be done; the message says what to do."""


class TrainingRejectedError(TrainingError):
    """There is too little data, or no model: the step has nothing to do, and the champion stays."""


class StateError(TrainingError):
    """The result of an earlier step is missing or does not match."""
