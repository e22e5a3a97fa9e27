"""Waits until a window's tweets have come through Firehose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from include.operators.aws import client
from include.settings import settings
from include.window import Window

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.lake.delivery import DeliveryStatus, DeliveryWatch


_PAUSE = 5.0


def _delivery(window: Window) -> DeliveryWatch:
    from include.lake.delivery import DeliveryWatch

    return DeliveryWatch(client("s3"), client("firehose"), settings(), window)


def _result(status: DeliveryStatus) -> dict[str, str | None]:
    return {
        "reason": status.reason,
        "watermark": status.proof.watermark.isoformat() if status.proof else None,
    }


class DeliveryTrigger(BaseTrigger):
    """Looks for the proof until it is there or the grace time is over; the event is the sensor's result."""

    def __init__(self, window: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.window = window

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, for the triggerer."""
        return f"{__name__}.{type(self).__name__}", {"window": self.window}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks again when the status says: at a known time once the proof has landed.

        Waits before the first look: the scheduler takes a task that resumes before it was seen to defer for
        dead, and the sensor has just looked.
        """
        delivery = await asyncio.to_thread(_delivery, Window.parse(self.window))
        await asyncio.sleep(_PAUSE)
        while True:
            now = datetime.now(UTC)
            status = await asyncio.to_thread(delivery.look, now)
            if status.through:
                yield TriggerEvent(_result(status))  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(max((status.look_again - now).total_seconds(), 0.1))


class DeliveryWatermarkSensor(BaseOperator):
    """Waits until a heartbeat's watermark proves that ``window`` is through, or its grace time is over.

    Returns ``{"reason": "watermark" | "grace" | "open", "watermark": ISO time or None}``. Looks once by
    itself, which is enough in a catch-up, and waits in the triggerer.
    """

    template_fields = ("window",)
    ui_color = "#c7e3f7"

    def __init__(self, *, window: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = window

    def execute(self, context: Context) -> dict[str, str | None]:
        """Looks once and goes on, or defers."""
        status = _delivery(Window.parse(self.window)).look(datetime.now(UTC))
        if not status.through:
            self.log.info("window=%s is not through yet, waiting", self.window)
            self._wait()
        return self.go_on(context, _result(status))

    def go_on(self, _context: Context, event: dict[str, str | None]) -> dict[str, str | None]:
        """Says on what evidence the window is worked on."""
        if event["reason"] == "grace":
            self.log.warning(
                "window=%s is worked on without proof that it is whole: the grace time of %d s is over",
                self.window,
                settings().delivery_grace_seconds,
            )
        else:
            self.log.info(
                "window=%s reason=%s watermark=%s", self.window, event["reason"], event["watermark"]
            )
        return event

    def _wait(self) -> NoReturn:
        self.defer(trigger=DeliveryTrigger(self.window), method_name="go_on")
