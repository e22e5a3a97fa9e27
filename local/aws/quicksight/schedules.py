"""When a refresh schedule is due, in UTC or the schedule's time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

A_DATA_SET = 5
"""Schedules that a data set may have (user guide, "Refreshing a dataset on a schedule")."""

type Json = dict[str, Any]

_STEPS = {"MINUTE15": timedelta(minutes=15), "MINUTE30": timedelta(minutes=30), "HOURLY": timedelta(hours=1)}
_WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


def problem(schedule: Json) -> str | None:
    """Why a schedule is rejected."""
    frequency = schedule["ScheduleFrequency"]
    interval, clock = frequency["Interval"], frequency.get("TimeOfTheDay")
    on_day = frequency.get("RefreshOnDay") or {}
    if schedule["RefreshType"] != "FULL_REFRESH":
        return "Incremental refresh needs refresh properties, which the data set does not have"
    if interval.startswith("MINUTE"):
        return f"{interval} is for incremental refreshes only"
    if frequency.get("Timezone", "UTC") not in available_timezones():
        return f"{frequency['Timezone']} is not a time zone"
    if clock is not None and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", clock):
        return f"TimeOfTheDay {clock} is not a time such as 05:30"
    if interval == "WEEKLY" and on_day.get("DayOfWeek") not in _WEEKDAYS:
        return "A weekly schedule needs RefreshOnDay.DayOfWeek"
    if interval == "MONTHLY" and not on_day.get("DayOfMonth"):
        return "A monthly schedule needs RefreshOnDay.DayOfMonth"
    return None


def due(schedule: Json, after: float) -> float:
    """The first moment after ``after`` (seconds since 1970) at which the schedule runs."""
    frequency = schedule["ScheduleFrequency"]
    zone = ZoneInfo(frequency.get("Timezone", "UTC"))
    moment = datetime.fromtimestamp(max(after, schedule.get("StartAfterDateTime", 0)), UTC).astimezone(zone)
    hours, minutes = map(int, (frequency.get("TimeOfTheDay") or "00:00").split(":"))
    if step := _STEPS.get(frequency["Interval"]):
        start = moment.replace(minute=minutes, second=0, microsecond=0)
    else:
        step = timedelta(days=1)
        start = moment.replace(hour=hours, minute=minutes, second=0, microsecond=0)
    while start <= moment or not _on_day(frequency, start):
        start += step
    return start.timestamp()


def _on_day(frequency: Json, moment: datetime) -> bool:
    on_day = frequency.get("RefreshOnDay") or {}
    match frequency["Interval"]:
        case "WEEKLY":
            return bool(_WEEKDAYS[moment.weekday()] == on_day["DayOfWeek"])
        case "MONTHLY":
            last = (moment + timedelta(days=1)).month != moment.month
            wanted = on_day["DayOfMonth"]
            return last if wanted == "LAST_DAY_OF_MONTH" else str(moment.day) == wanted
    return True
