"""Asking a model as a task: clearing it never pays twice, and killing it stops the job.

The methods import what needs botocore, to keep the parsing of DAG files fast.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from include.operators.inputs import client, now
from include.operators.links import TransformJobLink, address
from include.operators.polling import PollingTrigger, Seen, Watch
from include.settings import settings
from include.window import Window

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.labeling.answers import Ask, KeptAnswers
    from include.labeling.endpoints import Endpoint
    from include.labeling.jobs import CapacityError, Job
    from include.labeling.models import Ensured, Model

_PATIENCE = 10.0
_CAPACITY_WAIT = timedelta(minutes=1)
_REASON_LENGTH = 500

log = logging.getLogger(__name__)


class TransformJobWatch(Watch):
    """Watches a transform job; its end is the event ``{"state": ..., "reason": ...}``."""

    def __init__(self, job_name: str) -> None:
        self._job_name = job_name
        self._seen = ""

    def look(self) -> Seen:
        """Asks SageMaker once."""
        from include.labeling import jobs

        state, reason = jobs.watch(client("sagemaker"), self._job_name, 0)
        if state != self._seen:
            log.info("job=%s state=%s", self._job_name, state)
            self._seen = state
        return Seen({"state": state, "reason": reason} if state in jobs.ENDED else None)

    def stop(self) -> None:
        """Stops the job."""
        from include.labeling import jobs

        jobs.stop(client("sagemaker"), self._job_name)


class AskModelOperator(BaseOperator):
    """Has the model of ``stage`` answer every question under ``input_prefix`` that it has not answered yet.

    An open hour is answered by the model's endpoint where there is one, any other by batch jobs. Answers are
    kept (`include/labeling/answers.py`), so a tweet costs the model one call, whatever runs again. Jobs of
    earlier runs whose answers are not kept yet come first. It waits for a job some seconds in the worker,
    which suits a local one, and then in the triggerer.

    Returns ``{"model", "engine", "output"}``; ``output`` is a key prefix beside the input. Skips if the stage
    has no model or ``input_prefix`` is empty. A job that failed or was stopped fails the task; its retry
    starts a new job. If the account's limit is reached, it waits and tries again.
    """

    template_fields = ("window", "input_prefix")
    operator_extra_links = (TransformJobLink(),)
    ui_color = "#d9c7f7"

    def __init__(self, *, stage: str, window: Any, input_prefix: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self.window = window
        self.input_prefix = input_prefix
        self._running: tuple[Any, str] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Finds or creates one job after the other, and defers unless it ends soon."""
        from include.labeling import jobs, models

        s3 = client("s3")
        model = models.resolve(settings(), s3).of(self.stage)
        if model is None:
            raise AirflowSkipException(
                f"no {self.stage} model is configured (OPINION_{self.stage.upper()}_ARTIFACT)"
            )
        if not self.input_prefix:
            raise AirflowSkipException(f"there is no input for the {self.stage} model")
        if not jobs.list_job_objects(s3, settings().bucket, self.input_prefix):
            raise jobs.JobError(
                f"{self.input_prefix} is empty: work files expire; clear this run from the task 'prepare' on"
            )
        ensured = models.ensure_model(client("sagemaker"), s3, settings(), model)
        kept = self._kept(model.name)
        while ask := self._unkept(kept, model, ensured):
            self._answer(context, ask, model, ensured)
        if endpoint := self._endpoint(model):
            self._ask_endpoint(endpoint, kept, model, ensured)
        while ask := kept.ask(self.input_prefix):
            self._answer(context, ask, model, ensured)
        return {"model": model.name, "engine": model.engine, "output": kept.assemble(self.input_prefix)}

    def finish(self, context: Context, event: dict[str, str], running: dict[str, Any]) -> dict[str, Any]:
        """Keeps the answers of a job that has ended, and goes on; raises as `execute`."""
        self._finish(event, running)
        return self.execute(context)

    def try_again(self, context: Context, event: Any) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Tries again to start the job."""
        return self.execute(context)

    def _kept(self, model: str) -> KeptAnswers:
        from include.labeling.answers import KeptAnswers

        return KeptAnswers(client("s3"), settings().bucket, Window.parse(self.window), model)

    def _endpoint(self, model: Model) -> Endpoint | None:
        """The endpoint that answers for an hour while `live` may label it, where there is one."""
        from include.labeling import endpoints

        until = Window.parse(self.window).end + timedelta(minutes=settings().live_minutes)
        if not settings().live_endpoints or until <= now():
            return None
        return endpoints.find(client("sagemaker"), settings(), model)

    def _ask_endpoint(self, endpoint: Endpoint, kept: KeptAnswers, model: Model, ensured: Ensured) -> None:
        from include.labeling import endpoints, models

        s3 = client("s3")

        def verify() -> None:
            written = ensured.artifact_written
            models.check_unreplaced(s3, model.artifact_uri, written, endpoint.created)

        endpoints.ask(
            client("sagemaker-runtime"), endpoint, kept, self.input_prefix, verify, settings().live_instances
        )

    def _unkept(self, kept: KeptAnswers, model: Model, ensured: Ensured) -> Ask | None:
        """What a job answers, or has answered, for another run that has not kept the answers yet."""
        from include.labeling import jobs

        sagemaker, s3 = client("sagemaker"), client("s3")
        for ask in kept.pending():
            if jobs.find(sagemaker, s3, self._planned(ask, model), ensured.artifact_written)[1]:
                return ask
        return None

    def _planned(self, ask: Ask, model: Model) -> Job:
        from include.labeling import jobs

        # The prefix names the questions by their digest, so it is the tag of each object.
        inputs = [(ask.prefix + file, ask.prefix) for file in ask.files]
        return jobs.plan(settings(), Window.parse(self.window), model, ask.input_prefix, inputs)

    def _answer(self, context: Context, ask: Ask, model: Model, ensured: Ensured) -> None:
        """Keeps the answers of the job for ``ask``, found or created; defers unless it ends soon."""
        from include.labeling import jobs

        sagemaker, s3 = client("sagemaker"), client("s3")
        job = self._planned(ask, model)
        try:
            started = jobs.start(sagemaker, s3, job, ensured.artifact_written)
        except jobs.CapacityError as error:
            self._wait_for_capacity(error)
        job_address = address(settings().sagemaker_job_url, sagemaker, job=started.name)
        TransformJobLink().note(context["ti"], job_address)
        running = {
            "job": started.name,
            "joined": not started.created,
            "model": model.name,
            "artifact": model.artifact_uri,
            "artifact_written": ensured.artifact_written.isoformat(),
            "ask": {"prefix": ask.prefix, "files": list(ask.files)},
            "output": job.output_prefix,
            "outputs": sorted(job.outputs),
        }
        state, reason = started.state, ""
        if state != jobs.JOB_COMPLETED:
            self._running = (sagemaker, started.name)
            state, reason = jobs.watch(sagemaker, started.name, _PATIENCE)
            if state not in jobs.ENDED:
                self._wait_for_job(running)
        self._finish({"state": state, "reason": reason}, running)

    def _finish(self, event: dict[str, str], running: dict[str, Any]) -> None:
        """Keeps the answers of a completed job; raises `JobError` for any other end.

        Raises `ModelError` if the job may have run another artifact than the verified one. If a joined job
        was stopped, another task did that, and nothing is kept: this task starts its own.
        """
        from include.labeling import jobs, models
        from include.labeling.answers import Ask

        name, state = running["job"], event["state"]
        self._running = None
        if state == jobs.JOB_STOPPED and running["joined"]:
            self.log.info("job=%s was stopped by the task that started it", name)
            return
        if state != jobs.JOB_COMPLETED:
            raise jobs.JobError(
                f"job {name} is {state}: {event['reason'][:_REASON_LENGTH] or 'no reason given'}; "
                "see its log in CloudWatch, group /aws/sagemaker/TransformJobs"
            )
        written = datetime.fromisoformat(running["artifact_written"])
        began = jobs.began(client("sagemaker"), name)
        models.check_unreplaced(client("s3"), running["artifact"], written, began)
        there = {key for key, _ in jobs.list_job_objects(client("s3"), settings().bucket, running["output"])}
        missing = sorted(set(running["outputs"]) - there)
        if missing:
            raise jobs.JobError(
                f"job {name} completed without {len(missing)} of its outputs, such as {missing[0]}"
            )
        ask = Ask(running["ask"]["prefix"], tuple(running["ask"]["files"]))
        self._kept(running["model"]).keep(ask, running["output"])
        self.log.info("job=%s state=%s outputs=%d", name, state, len(running["outputs"]))

    def on_kill(self) -> None:
        """Stops the job when the task is killed between starting it and deferring."""
        from include.labeling import jobs

        if self._running is not None:
            jobs.stop(*self._running)

    def _wait_for_job(self, running: dict[str, Any]) -> NoReturn:
        self.defer(
            trigger=PollingTrigger.of(TransformJobWatch, {"job_name": running["job"]}),
            method_name="finish",
            kwargs={"running": running},
        )

    def _wait_for_capacity(self, error: CapacityError) -> NoReturn:
        self.log.warning("no capacity, trying again in %s: %s", _CAPACITY_WAIT, error)
        self.defer(trigger=TimeDeltaTrigger(_CAPACITY_WAIT), method_name="try_again")
