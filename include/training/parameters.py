"""The parameters of the steps with their defaults, read from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any


class ParameterError(ValueError):
    """An invalid parameter."""


def _says(help_: str, **default: Any) -> Any:
    return field(metadata={"help": help_}, **default)


@dataclass(frozen=True)
class Parameters:
    """The parameters of all steps: each step receives all of them and reads its own."""

    bucket: str = _says("the lake's bucket")
    model: str = _says("the registered model: catalog.schema.model", default="main.x_opinion.student")
    experiment: str = _says("MLflow's experiment", default="/Shared/x-opinion")
    trials: int = _says("how many points the search tries", default=6)
    seed: int = _says("seed of the search and of the trees", default=20)
    minimum_confidence: float = _says("labels that the teacher is less sure of teach nothing", default=0.0)
    minimum_rows: int = _says("rows of each sentiment without which nothing is trained", default=30)
    margin: float = _says("macro-F1 by which a candidate must be better", default=0.005)
    retention_days: int = _says("tweets of earlier days leave the Delta table", default=30)
    history_seconds: int = _says("how long the Delta table keeps files after their last use", default=21_600)
    retrain: bool = _says("train also where the same data has been trained on", default=False)
    repredict: bool = _says("predict all hours, not only the changed ones", default=False)

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ParameterError(f"trials is {self.trials}: a search needs at least one point")
        if self.retention_days < 1:
            raise ParameterError(f"retention_days is {self.retention_days}: nothing would be kept")
        if self.history_seconds < 0:
            raise ParameterError(f"history_seconds is {self.history_seconds}: it is no span of time")

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Parameters:
        """Reads ``--name=value`` for each; a boolean is true or false.

        Raises `ParameterError` naming what is wrong.
        """
        known = {each.name: each for each in fields(cls)}
        values: dict[str, Any] = {}
        for argument in arguments:
            option, equals, text = argument.partition("=")
            name = option.removeprefix("--").replace("-", "_")
            if not (option.startswith("--") and equals and name in known):
                given = ", ".join(f"--{each}=…" for each in known)
                raise ParameterError(f"{argument} is not a parameter; the parameters are {given}")
            try:
                values[name] = _READERS[str(known[name].type)](text)
            except ValueError as error:
                raise ParameterError(f"{argument} cannot be read: {error}") from error
        missing = [name for name, each in known.items() if each.default is MISSING and not values.get(name)]
        if missing:
            raise ParameterError(f"give --{missing[0]}=…: {known[missing[0]].metadata['help']}")
        return cls(**values)

    def named(self) -> dict[str, str]:
        """The inverse of `parse`: texts by name, as a job's ``named_parameters``."""
        return {each.name: _written(getattr(self, each.name)) for each in fields(self)}


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


_READERS: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _truth,
}
