"""Waits in the triggerer for work elsewhere, without a worker: one trigger for every operator.

class JobWatch(Watch):
    def __init__(self, job_name: str) -> None: ...
    def look(self) -> Seen: ...          # runs in a thread: may block
    def stop(self) -> None: ...          # a person killed the task

self.defer(trigger=PollingTrigger.of(JobWatch, {"job_name": name}), method_name="finish")
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

FIRST_WAIT, GROWTH, LONGEST_WAIT = 5.0, 1.5, 30.0
"""The pace of looks, in seconds: a short job is noticed soon after its end, a long one costs few calls."""


@dataclass(frozen=True)
class Seen:
    """The result of a look: the ``event`` to resume with, or when to look again.

    Without either, the trigger looks again at its own pace.
    """

    event: Mapping[str, Any] | None = None
    again_after: float | None = None


class Watch(ABC):
    """Work in progress elsewhere; created from its arguments wherever the trigger runs."""

    @abstractmethod
    def look(self) -> Seen:
        """Asks for its state once."""

    def stop(self) -> None:  # noqa: B027 - a watch need not stop what it watches
        """Ends the work if a person marks or clears the task; by default it continues."""


class PollingTrigger(BaseTrigger):
    """Looks, without a limit, until the watch returns an event; stops it if a person kills the task.

    ``watch`` is the path of a `Watch`, made with ``arguments`` (plain values). The wait between two looks
    grows from ``first_wait`` by ``growth`` up to ``longest_wait`` seconds.
    """

    def __init__(
        self,
        watch: str,
        arguments: dict[str, Any],
        first_wait: float,
        growth: float,
        longest_wait: float,
    ) -> None:
        super().__init__()
        self.watch = watch
        self.arguments = arguments
        self.first_wait = first_wait
        self.growth = growth
        self.longest_wait = longest_wait

    @classmethod
    def of(cls, watch: type[Watch], arguments: dict[str, Any], **pace: float) -> PollingTrigger:
        """The trigger for a class; ``pace`` is passed if the default does not fit."""
        pace = {"first_wait": FIRST_WAIT, "growth": GROWTH, "longest_wait": LONGEST_WAIT} | pace
        return cls(f"{watch.__module__}.{watch.__qualname__}", arguments, **pace)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, for the triggerer."""
        names = ("watch", "arguments", "first_wait", "growth", "longest_wait")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Waits before each look, including the first.

        The scheduler treats a task that resumes before it was seen to defer as dead.
        """
        watch = await asyncio.to_thread(self._made)
        wait = self.first_wait
        pause = wait
        while True:
            await asyncio.sleep(pause)
            seen = await asyncio.to_thread(watch.look)
            if seen.event is not None:
                yield TriggerEvent(dict(seen.event))
                return
            wait = min(wait * self.growth, self.longest_wait)
            pause = wait if seen.again_after is None else seen.again_after

    async def on_kill(self) -> None:
        """Stops the watched work. A triggerer's restart does not get here.

        It runs in a thread to its end, because the triggerer cancels repeatedly, including this coroutine.
        """
        await asyncio.to_thread(lambda: self._made().stop())

    def _made(self) -> Watch:
        made: Watch = resolve_name(self.watch)(**self.arguments)
        return made
