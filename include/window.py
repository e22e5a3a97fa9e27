"""The window: one UTC hour, the unit of all work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

type Day = date
"""`date`, for use inside `Window`, whose property `date` hides it."""
HOUR = timedelta(hours=1)
FIRST_DAY = date(2006, 3, 21)
"""The day of the first post on X: no hour before it can hold one."""
LABEL_PATTERN = (
    r"^20[0-9]{2}-"
    r"(02-(0[1-9]|[12][0-9])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01]))"
    r"T([01][0-9]|2[0-3])$"
)
"""What a label looks like, for a Param's JSON schema: Airflow rejects the rest when a run is triggered. Only
29 February, and days that cannot hold posts, are left to `requested_hour`."""


class WindowError(ValueError):
    """A time or text that names no whole UTC hour."""


@dataclass(frozen=True, order=True)
class Window:
    """One UTC hour ``[start, end)``.

    ``start`` is timezone-aware, in UTC and on the hour; anything else raises `WindowError`.
    """

    start: datetime

    def __post_init__(self) -> None:
        if self.start.utcoffset() != timedelta(0):
            raise WindowError(f"a window starts at an aware UTC time, not {self.start!r}")
        if self.start != self.start.replace(minute=0, second=0, microsecond=0):
            raise WindowError(f"a window starts on the hour, not at {self.start.isoformat()}")
        # A plain datetime also where Airflow gives pendulum's: adding an hour to that loses the zone.
        object.__setattr__(self, "start", datetime.fromtimestamp(self.start.timestamp(), UTC))

    @classmethod
    def containing(cls, moment: datetime) -> Window:
        """The hour in which an aware ``moment`` lies."""
        if moment.tzinfo is None:
            raise WindowError(f"a moment needs a time zone: {moment!r}")
        return cls(moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0))

    @classmethod
    def parse(cls, label: str) -> Window:
        """Reads a label such as ``2026-11-20T05`` or an ISO time on the hour; raises `WindowError`."""
        try:
            if len(label) == len("2026-11-20T05"):
                return cls(datetime.strptime(label, "%Y-%m-%dT%H").replace(tzinfo=UTC))
            if "T" not in label:
                raise ValueError("a day is not an hour")
            moment = datetime.fromisoformat(label)
        except (TypeError, ValueError) as error:
            raise WindowError(f"{label!r} is not an hour; write it as 2026-11-20T05 (UTC)") from error
        return cls(moment if moment.tzinfo else moment.replace(tzinfo=UTC))

    def is_within(self, days: int, today: Day) -> bool:
        """Whether its day is one of the ``days`` before ``today``, or later."""
        return self.start.date() >= today - timedelta(days=days)

    @classmethod
    def between(cls, start: datetime, end: datetime) -> Iterator[Window]:
        """Every hour that overlaps ``[start, end)``, in order."""
        window = cls.containing(start)
        while window.start < end:
            yield window
            window = window.next

    @property
    def end(self) -> datetime:
        """The first moment after the hour."""
        return self.start + HOUR

    @property
    def next(self) -> Window:
        """The hour after this one."""
        return Window(self.end)

    @property
    def previous(self) -> Window:
        """The hour before this one."""
        return Window(self.start - HOUR)

    @property
    def date(self) -> str:
        """The partition value ``dt``: ``2026-11-20``."""
        return self.start.date().isoformat()  # strftime writes the year 1 with one digit

    @property
    def hour(self) -> str:
        """The partition value ``hour``: ``05``."""
        return f"{self.start:%H}"

    @property
    def label(self) -> str:
        """``2026-11-20T05``, as it stands in run ids, prefixes and logs."""
        return f"{self.date}T{self.hour}"

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def __str__(self) -> str:
        return self.label


def is_possible(day: date, now: datetime) -> bool:
    """Whether posts can lie in ``day``: from X's first day to the day after ``now`` (aware).

    Tomorrow is allowed because it is today already where clocks are ahead of UTC.
    """
    return FIRST_DAY <= day <= _tomorrow(now)


def _tomorrow(now: datetime) -> date:
    return now.astimezone(UTC).date() + timedelta(days=1)


def possible_day(day: date, now: datetime) -> date:
    """``day``, where posts can lie in it (`is_possible`); raises `WindowError`."""
    if not is_possible(day, now):
        last = _tomorrow(now)
        raise WindowError(f"{day} cannot hold posts; choose a day from {FIRST_DAY} to {last} (UTC)")
    return day


def requested_hour(label: str, now: datetime) -> Window:
    """The hour that a person asks for by ``label``.

    Raises `WindowError` if it names no hour, or one that cannot hold posts.
    """
    window = Window.parse(label)
    possible_day(window.start.date(), now)
    return window


def requested(
    label: str | None, interval_start: datetime | None, interval_end: datetime | None, *, now: datetime
) -> Window:
    """The window that a run is about: what its ``label`` names, else its data interval.

    Raises `WindowError` if neither names one hour, or the hour cannot hold posts yet at ``now``.
    """
    if label:
        window = requested_hour(label, now)
    elif interval_start is None or interval_end is None or interval_start == interval_end:
        raise WindowError("this run has no data interval: give it a window, such as 2026-11-20T05 (UTC)")
    else:
        window = Window(interval_start)
        if interval_end != window.end:
            raise WindowError(f"the data interval {interval_start} to {interval_end} is not one hour")
    if window.start > now:
        raise WindowError(f"the window {window} has not begun yet, so nothing was collected")
    return window
