"""Faults injected into a stand-in: switched on by a call or a file, and ending by themselves.

A fault has a ``kind``, and ends after its number of ``times`` or ``seconds``, whichever comes first. It
begins after ``after`` seconds; ``every`` is the least time between two strikes. Each stand-in defines its
kinds, what counts as one time, and further options.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, Literal

import yaml

Unit = Literal["moment", "line", "request", "period"]
"""What counts as one time: an event, a line, a request; a period has only seconds."""

PERIOD_SECONDS = 30.0
"""The default length of a period."""

_ENDED_KEPT = 1000


@dataclass(frozen=True)
class Option:
    """An option of a kind of fault; ``wanted`` describes what is ``good``."""

    default: Any
    wanted: str
    good: Callable[[Any], bool]


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    unit: Unit
    options: Mapping[str, Option] = field(default_factory=dict)


class FaultError(ValueError):
    """An unknown or invalid fault."""


@dataclass
class Fault:
    """One fault, from being switched on to its end; times are seconds since 1970."""

    kind: str
    begins: float
    ends: float | None
    times: int | None
    every: float
    options: dict[str, Any]
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    struck: int = 0
    last_struck: float | None = None
    stopped: bool = False

    def to_json(self, now: float) -> dict[str, Any]:
        """As the control interface lists it."""
        return {
            "id": self.id,
            "kind": self.kind,
            **self.options,
            "state": "ended" if self.over(now) else "waiting" if now < self.begins else "active",
            "begins": self.begins,
            "ends": self.ends,
            "times": self.times,
            "every": self.every,
            "struck": self.struck,
        }

    def over(self, now: float) -> bool:
        """Whether it will never strike again."""
        return (
            self.stopped
            or (self.ends is not None and now >= self.ends)
            or (self.times is not None and self.struck >= self.times)
        )

    def present(self, now: float) -> bool:
        """Whether it has begun and not ended."""
        return now >= self.begins and not self.over(now)


class Faults:
    """The faults of one server, of its ``kinds``; thread-safe."""

    def __init__(self, kinds: Mapping[str, Kind], clock: Callable[[], float] = time.time) -> None:
        self._kinds = kinds
        self._clock = clock
        self._faults: list[Fault] = []
        self._lock = RLock()

    def add(self, wanted: object) -> list[dict[str, Any]]:
        """Switches on one fault or a list of them, all or none; returns them, raises `FaultError`."""
        added = [self._read(entry) for entry in (wanted if isinstance(wanted, list) else [wanted])]
        with self._lock:
            now = self._clock()
            ended = [fault for fault in self._faults if fault.over(now)]
            for fault in ended[: max(0, len(ended) - _ENDED_KEPT)]:
                self._faults.remove(fault)
            self._faults += added
            return [fault.to_json(now) for fault in added]

    def load(self, path: Path) -> None:
        """Switches on what a YAML or JSON file lists; raises `FaultError`."""
        try:
            wanted = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise FaultError(f"{path} cannot be read: {error}") from error
        try:
            self.add(wanted)
        except FaultError as error:
            raise FaultError(f"{path}: {error}") from error

    def clear(self, fault_id: str | None = None) -> int:
        """Ends the fault with that id, or all; returns how many had not ended."""
        with self._lock:
            now = self._clock()
            ending = [fault for fault in self._faults if not fault.over(now) and fault_id in (None, fault.id)]
            for fault in ending:
                fault.stopped = True
        return len(ending)

    def to_json(self) -> list[dict[str, Any]]:
        """Every fault, including ended ones, oldest first."""
        with self._lock:
            return [fault.to_json(self._clock()) for fault in self._faults]

    def present(self, kind: str) -> Fault | None:
        """The active fault of that kind, without counting a time."""
        with self._lock:
            now = self._clock()
            return next((fault for fault in self._faults if fault.kind == kind and fault.present(now)), None)

    def holds(self, fault: Fault) -> bool:
        """Whether a fault of that kind is active."""
        with self._lock:
            return fault.present(self._clock())

    def strike(self, kind: str, matches: Callable[[Fault], bool] = lambda _: True) -> Fault | None:
        """The fault of that kind that strikes now, counted as one time; None if there is none."""
        with self._lock:
            now = self._clock()
            for fault in self._faults:
                if fault.kind != kind or not fault.present(now) or not matches(fault):
                    continue
                if fault.last_struck is not None and now < fault.last_struck + fault.every:
                    continue
                fault.struck += 1
                fault.last_struck = now
                return fault
        return None

    def _read(self, entry: object) -> Fault:
        if not isinstance(entry, dict):
            raise FaultError(f"a fault is an object with a kind, not {entry!r}")
        given = dict(entry)
        name = given.pop("kind", None)
        kind = self._kinds.get(name) if isinstance(name, str) else None
        if kind is None:
            raise FaultError(f"there is no fault {name!r}, but {', '.join(sorted(self._kinds))}")
        times = given.pop("times", None)
        if times is not None and (type(times) is not int or times < 1):
            raise FaultError(f"{name}: times is a whole number from 1 on, not {times!r}")
        if times is not None and kind.unit == "period":
            raise FaultError(f"{name}: it lasts for seconds, not for a number of times")
        seconds, after, every = (
            _seconds(name, unit, given.pop(unit, None)) for unit in ("seconds", "after", "every")
        )
        if times is None and seconds is None:
            times, seconds = (None, PERIOD_SECONDS) if kind.unit == "period" else (1, None)
        if unknown := sorted(set(given) - set(kind.options)):
            known = sorted({"after", "every", "seconds", "times", *kind.options})
            raise FaultError(f"{name}: {', '.join(map(repr, unknown))} is not among {', '.join(known)}")
        options = {}
        for option, described in kind.options.items():
            options[option] = value = given.get(option, described.default)
            if not described.good(value):
                raise FaultError(f"{name}: {option} is {described.wanted}, not {value!r}")
        begins = self._clock() + (after or 0.0)
        return Fault(
            name, begins, None if seconds is None else begins + seconds, times, every or 0.0, options
        )


def number(default: float, low: float = 0.0, high: float = float("inf")) -> Option:
    """An option that is a number above ``low``, at most ``high``."""
    wanted = f"a number above {low:g}" + (f", at most {high:g}" if high < float("inf") else "")
    return Option(default, wanted, lambda value: is_number(value) and low < value <= high)


def is_number(value: object) -> bool:
    """Whether a value is a number (a boolean is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(kind: object, name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not is_number(value) or value < 0:
        raise FaultError(f"{kind}: {name} is a number of seconds from 0 on, not {value!r}")
    return float(value)
