"""Shifts: days whose rectified net sentiment leaves the range that the days before them predict.

The days before are taken for a sample of days whose true values differ around a mean, as opinion does from
day to day: value = mean + the day's own deviation (variance tau squared) + sampling error + audit's error.
The sampling error is each day's own. The audit's is one for all days of a month and model, which one
rectifier corrects: between two such days it cancels out, between others both count.

tau squared is the moment estimate of R. DerSimonian and N. Laird (1986) from the scatter within months and
models, and the day is expected within the prediction interval of a random-effects mean (J. Higgins, S.
Thompson, D. Spiegelhalter, A re-evaluation of random-effects meta-analysis, 2009), widened by its own
sampling error and by what is left of the audits'. So neither few tweets, nor few judgments, nor ordinary days
are news.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from include.insights.definition import DataSet, load
from include.insights.expressions import to_sql
from include.lake.athena import Athena
from include.settings import Settings
from include.x.topics import Topics

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_LEAST_TWEETS = 30
"""A day of a smaller effective number of tweets has no interval that can be trusted."""
_LEAST_HOURS = 20
"""A day of fewer hours is one of another time of the day, and no day like the others."""
_RULE_OF_THREE = 1.5
"""An error is no smaller than this by the number of tweets, as in an audit's: all alike proves little."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DayFigure:
    """A topic's rectified net sentiment on a day, -1 to 1, with its standard errors.

    ``engines`` are the models that labeled; ``tweets`` is the effective number of tweets.
    """

    topic: str
    day: date
    engines: str
    net: float
    sampling_error: float
    audit_error: float
    tweets: float

    @property
    def rectifier(self) -> tuple[int, int, str]:
        """What days with the same error of the audit share."""
        return self.day.year, self.day.month, self.engines


@dataclass(frozen=True)
class Shift:
    """A day's net sentiment outside ``low`` to ``high``, the range that ``days`` days before it predict."""

    topic: str
    day: date
    net: float
    low: float
    high: float
    days: int

    def to_json(self) -> dict[str, Any]:
        """As a dict of JSON's types."""
        return {**asdict(self), "day": self.day.isoformat()}


def find(athena: Athena, s3: S3Client, settings: Settings, topics: Topics, day: date) -> list[Shift]:
    """The topics whose net sentiment has shifted on a day, by the view `opinion`. Raises `AthenaError`."""
    data_set = load(topics).data_sets["opinion"]
    query = statement(data_set, day - timedelta(days=settings.shift_days), day)
    figures = [
        DayFigure(
            row["topic"],
            date.fromisoformat(row["dt"]),
            row["engines"],
            row["net"],
            row["sampling_error"],
            row["audit_error"],
            row["tweets"],
        )
        for row in athena.table(s3, query).to_pylist()
        if row["audit_part"] is not None and row["audit_part"] > 0.999999 and row["hours"] >= _LEAST_HOURS
    ]
    found = []
    for topic in topics.names:
        own = [figure for figure in figures if figure.topic == topic]
        if shift := of_day(own, day, settings.shift_days, settings.shift_chance):
            found.append(shift)
        log.info("shift topic=%s day=%s days=%d shifted=%s", topic, day, len(own), shift is not None)
    return found


def statement(data_set: DataSet, first: date, last: date) -> str:
    """The SELECT of the figures of every topic and day, both days included, by the dashboards' own terms.

    Of the languages that the models were measured on, as the pages show, and of hours that are counted.
    """
    terms = {
        "net": "net_by_audit",
        "sampling_error": "net_sampling_error",
        "audit_error": "net_error",
        "tweets": "effective_n",
        "audit_part": "audit_part",
    }
    columns = ", ".join(f"{to_sql(data_set.terms[term].resolved)} AS {name}" for name, term in terms.items())
    return (
        "SELECT dt, topic, count(DISTINCT hour) AS hours,"  # noqa: S608 - every part is the definition's own
        " array_join(array_sort(array_agg(DISTINCT engine) FILTER (WHERE judged > 0)), ' ') AS engines,"
        f" {columns} FROM ({data_set.statement()})"
        f" WHERE dt BETWEEN '{first.isoformat()}' AND '{last.isoformat()}' AND measured = 1 AND counted = 1"
        " GROUP BY dt, topic ORDER BY dt, topic"
    )


def of_day(figures: Iterable[DayFigure], day: date, days: int, chance: float) -> Shift | None:
    """The shift of one topic on ``day`` against the ``days`` days before it; None where there is none.

    A day like those before is one all the same with the probability ``chance``. With fewer than half of the
    days, or too few tweets on the day itself, nothing can be said.
    """
    # Half a second to import, which only a comparison needs.
    from scipy.stats import t

    usable = {figure.day: figure for figure in figures if figure.tweets >= _LEAST_TWEETS}
    now = usable.get(day)
    before = [usable[past] for back in range(1, days + 1) if (past := day - timedelta(days=back)) in usable]
    groups = {figure.rectifier for figure in before}
    freedom = len(before) - len(groups)
    if now is None or len(before) < days / 2 or freedom < 2:
        return None
    between = _variance_between(before)
    weights = [1 / (_sampling(figure) ** 2 + between) for figure in before]
    total, mean = sum(weights), _mean(weights, before)
    variance = _sampling(now) ** 2 + between + 1 / total
    for group in groups | {now.rectifier}:
        # How often the group's audit counts: in the day, less its part of the days before.
        part = sum(w for w, figure in zip(weights, before, strict=True) if figure.rectifier == group) / total
        error = max(figure.audit_error for figure in (*before, now) if figure.rectifier == group)
        variance += ((group == now.rectifier) - part) ** 2 * error**2
    margin = float(t.ppf(1 - chance / 2, freedom - 1)) * math.sqrt(variance)
    if abs(now.net - mean) <= margin:
        return None
    return Shift(now.topic, day, now.net, mean - margin, mean + margin, len(before))


def _sampling(figure: DayFigure) -> float:
    return max(figure.sampling_error, _RULE_OF_THREE / figure.tweets)


def _mean(weights: Sequence[float], figures: Sequence[DayFigure]) -> float:
    return sum(weight * figure.net for weight, figure in zip(weights, figures, strict=True)) / sum(weights)


def _variance_between(figures: Sequence[DayFigure]) -> float:
    """The variance of the days' true values, from what sampling does not explain of their scatter."""
    groups: dict[tuple[int, int, str], list[DayFigure]] = {}
    for figure in figures:
        groups.setdefault(figure.rectifier, []).append(figure)
    scatter = scale = 0.0
    for group in groups.values():
        weights = [1 / _sampling(figure) ** 2 for figure in group]
        total = sum(weights)
        mean = sum(weight * figure.net for weight, figure in zip(weights, group, strict=True)) / total
        scatter += sum(
            weight * (figure.net - mean) ** 2 for weight, figure in zip(weights, group, strict=True)
        )
        scale += total - sum(weight**2 for weight in weights) / total
    return max(0.0, (scatter - (len(figures) - len(groups))) / scale)
