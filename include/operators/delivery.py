"""Waits until a window's tweets have come through Firehose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator

from include.operators.inputs import client, now
from include.operators.polling import PollingTrigger, Seen, Watch
from include.settings import settings
from include.window import Window

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.lake.delivery import DeliveryStatus, DeliveryWatch


def _delivery(window: Window) -> DeliveryWatch:
    from include.lake.delivery import DeliveryWatch

    return DeliveryWatch(client, settings(), window)


def _result(status: DeliveryStatus) -> dict[str, str | None]:
    return {
        "reason": status.reason,
        "watermark": status.proof.watermark.isoformat() if status.proof else None,
    }


class DeliveryProof(Watch):
    """The proof that a window is complete; the event is the sensor's result."""

    def __init__(self, window: str) -> None:
        self._delivery = _delivery(Window.parse(window))

    def look(self) -> Seen:
        """Returns when to look again: at a known time once the proof has landed."""
        moment = now()
        status = self._delivery.look(moment)
        if status.through:
            return Seen(_result(status))
        return Seen(again_after=max((status.look_again - moment).total_seconds(), 0.1))


class DeliveryWatermarkSensor(BaseOperator):
    """Waits until a heartbeat's watermark proves that ``window`` is complete, or its grace time is over.

    Returns ``{"reason": "watermark" | "grace" | "open", "watermark": ISO time or None}``. Looks once in the
    worker, which is enough in a catch-up, then waits in the triggerer.
    """

    template_fields = ("window",)
    ui_color = "#c7e3f7"

    def __init__(self, *, window: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = window

    def execute(self, context: Context) -> dict[str, str | None]:
        """Looks once and continues, or defers."""
        status = _delivery(Window.parse(self.window)).look(now())
        if not status.through:
            self.log.info("window=%s is not delivered yet; waiting", self.window)
            self._wait()
        return self.go_on(context, _result(status))

    def go_on(self, _context: Context, event: dict[str, str | None]) -> dict[str, str | None]:
        """Returns the evidence on which the window is processed."""
        if event["reason"] == "grace":
            self.log.warning(
                "window=%s continues without proof of complete delivery: the grace time of %d s has passed",
                self.window,
                settings().delivery_grace_seconds,
            )
        else:
            self.log.info(
                "window=%s reason=%s watermark=%s", self.window, event["reason"], event["watermark"]
            )
        return event

    def _wait(self) -> NoReturn:
        self.defer(
            trigger=PollingTrigger.of(DeliveryProof, {"window": str(self.window)}), method_name="go_on"
        )
