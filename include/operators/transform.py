"""The tasks of `transform` that run in the worker itself; each returns counts and keys, never text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator, XComArg, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.operators.inputs import client, now, secret, topics
from include.operators.links import add_link
from include.operators.quality import QualityLink, checking
from include.operators.sagemaker import AskModelOperator
from include.settings import settings

if TYPE_CHECKING:
    from include.labeling.prepared import Prepared
    from include.quality.runner import QualityResult


@task
def window(
    params: Any = None, data_interval_start: datetime | None = None, data_interval_end: datetime | None = None
) -> str:
    """The label of the hour: the Param of a manual run, else the run's data interval.

    Skipped, with everything downstream, if the hour's raw tweets are expiring: the remaining ones would
    replace the hour's labels.
    """
    from include.window import WindowError, requested

    label, moment = (params or {}).get("window"), now()
    try:
        found = requested(label, data_interval_start, data_interval_end, now=moment)
    except WindowError as error:
        raise AirflowFailException(str(error)) from error  # no retry makes it an hour
    if not found.is_within(settings().retention_days, moment.date()):
        raise AirflowSkipException(
            f"{found} is more than {settings().retention_days} days ago (OPINION_RETENTION_DAYS): its raw"
            " tweets have expired, and its labels stay as they are"
        )
    return found.label


@task
def open_window() -> str:
    """The label of the open hour, or of the one that has ended less than `live_minutes` ago.

    The end of an hour need not wait for its scheduled run. Skipped, with everything downstream, if nothing
    has landed since it was labeled last.
    """
    from include.labeling.prepare import has_news
    from include.window import Window

    moment = now()
    before = moment - timedelta(minutes=settings().live_minutes)
    for window in dict.fromkeys((Window.containing(before), Window.containing(moment))):
        if has_news(client("s3"), settings(), topics().names, window):
            return window.label
    raise AirflowSkipException(f"nothing has landed in {window} since it was labeled last")


@task
def day_of(window: str) -> str:
    """The day of an hour (``2026-11-20``)."""
    from include.window import Window

    return Window.parse(window).date


@task(multiple_outputs=True)
def prepare(window: str) -> dict[str, Any]:
    """``prepared`` (see `Prepared`) and ``translation_input``, a key prefix or empty."""
    from include.labeling.prepare import prepare as prepare_hour
    from include.window import Window

    prepared = prepare_hour(
        client("s3"),
        settings(),
        topics().names,
        Window.parse(window),
        secret(settings().pseudonym_secret).encode(),
    )
    return {
        "prepared": prepared.to_json(),
        "translation_input": prepared.translation_input if prepared.to_translate else "",
    }


@task
def check_raw(prepared: dict[str, Any], ti: Any = None) -> dict[str, Any]:
    """The suite ``raw`` on the prepared rows."""
    from include.quality.checks import check_raw

    with checking(ti, "raw", prepared["window"]):
        return _checked(check_raw, prepared)


@task(trigger_rule="none_failed_min_one_success")
def compose(prepared: dict[str, Any], translation: dict[str, Any] | None) -> str:
    """Writes the sentiment model's input; returns its key prefix, empty if there is no input."""
    from include.labeling.model_io import compose_sentiment_input

    hour = _prepared(prepared)
    output = translation["output"] if translation else None
    prefix = _from_work(compose_sentiment_input, client("s3"), settings(), hour, output)
    return prefix if hour.to_label else ""


@task(trigger_rule="none_failed_min_one_success")
def publish(
    prepared: dict[str, Any], sentiment: dict[str, Any] | None, translation: dict[str, Any] | None
) -> dict[str, Any]:
    """Joins rows and answers into the lake's labeled and quarantine objects."""
    from include.labeling.models import NO_ENGINE
    from include.labeling.publish import publish

    sentiment, translation = sentiment or {}, translation or {}
    published = _from_work(
        publish,
        client("s3"),
        settings(),
        _prepared(prepared),
        secret(settings().pseudonym_secret).encode(),
        sentiment.get("output"),
        sentiment.get("engine", NO_ENGINE),
        translation.get("output"),
        translation.get("engine", NO_ENGINE),
    )
    return published.to_json()


@task
def check_labeled(prepared: dict[str, Any], ti: Any = None, outlet_events: Any = None) -> dict[str, Any]:
    """The suite ``labeled`` on the published rows; the asset's event names the window that changed."""
    from include.quality.checks import check_labeled

    with checking(ti, "labeled", prepared["window"]):
        result = _checked(check_labeled, prepared)
    for asset in outlet_events:
        outlet_events[asset].extra = {"window": prepared["window"]}
    return result


def label_hour(window: Any, *outlets: Asset, after: BaseOperator | None = None) -> XComArg:
    """Wires the tasks that label an hour, from `prepare` to `check_labeled`, which is returned.

    They begin ``after`` a task, if one is given; the last one updates ``outlets``.
    """
    hour: Any = prepare(window)
    raw_checked = check_raw(hour["prepared"])
    translate = AskModelOperator(
        task_id="translate",
        stage="translation",
        window=window,
        input_prefix=hour["translation_input"],
        pool=settings().sagemaker_pool,
    )
    translation: Any = translate.output
    label = AskModelOperator(
        task_id="label",
        stage="sentiment",
        window=window,
        input_prefix=compose(hour["prepared"], translation),
        pool=settings().sagemaker_pool,
    )
    sentiment: Any = label.output
    published = publish(hour["prepared"], sentiment, translation)
    checked = check_labeled.override(outlets=list(outlets))(hour["prepared"])
    if after is not None:
        after >> hour
    add_link(QualityLink(), raw_checked, checked)
    raw_checked >> translate
    published >> checked
    return checked


def _prepared(value: dict[str, Any]) -> Prepared:
    from include.labeling.prepared import Prepared

    return Prepared.from_json(value)


def _checked(check: Callable[..., QualityResult], prepared: dict[str, Any]) -> dict[str, Any]:
    hour = _prepared(prepared)
    result = _from_work(check, client("s3"), settings(), hour, tuple(hour.raw))
    return result.summary()


def _from_work[**P, R](step: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Runs a step that reads work files; its error says what to do if they have expired."""
    from include.lake.storage import ObjectMissingError

    try:
        return step(*arguments, **named)
    except ObjectMissingError as error:
        error.add_note("Work files expire: clear this run from the task 'prepare' on (downstream included).")
        raise
