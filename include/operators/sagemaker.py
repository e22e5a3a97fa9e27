"""A batch transform as a task: clearing it never pays twice, and killing it stops the job.

The methods import what needs botocore, to keep the parsing of DAG files fast.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from include.operators.inputs import client
from include.operators.links import TransformJobLink, address
from include.operators.polling import PollingTrigger, Seen, Watch
from include.settings import settings
from include.window import Window

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.labeling.jobs import CapacityError

_PATIENCE = 10.0
_CAPACITY_WAIT = timedelta(minutes=1)
_REASON_LENGTH = 500

log = logging.getLogger(__name__)


class TransformJobWatch(Watch):
    """Watches a transform job; its end is the event ``{"state": ..., "reason": ...}``."""

    def __init__(self, job_name: str) -> None:
        self._job_name = job_name
        self._sagemaker = client("sagemaker")
        self._seen = ""

    def look(self) -> Seen:
        """Asks SageMaker once."""
        from include.labeling import jobs

        state, reason = jobs.watch(self._sagemaker, self._job_name, 0)
        if state != self._seen:
            log.info("job=%s state=%s", self._job_name, state)
            self._seen = state
        return Seen({"state": state, "reason": reason} if state in jobs.ENDED else None)

    def stop(self) -> None:
        """Stops the job."""
        from include.labeling import jobs

        jobs.stop(self._sagemaker, self._job_name)


class BatchTransformOperator(BaseOperator):
    """Has the model of ``stage`` answer every object under ``input_prefix``.

    Waits some seconds in the worker, which suits a local job, and then in the triggerer.

    Returns ``{"job", "model", "engine", "artifact", "artifact_written", "output", "reused"}``; ``output`` is
    a key prefix beside the input. Skips if the stage has no model or ``input_prefix`` is empty. A job that
    failed or was stopped fails the task; its retry starts a new job. If the account's limit is reached, it
    waits and tries again.
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
        """Finds or creates the job, and defers unless it ends soon."""
        from include.labeling import jobs, models

        s3 = client("s3")
        model = models.resolve(settings(), s3).of(self.stage)
        if model is None:
            raise AirflowSkipException(
                f"no {self.stage} model is configured (OPINION_{self.stage.upper()}_ARTIFACT)"
            )
        if not self.input_prefix:
            raise AirflowSkipException(f"there is no input for the {self.stage} model")
        inputs = jobs.list_job_objects(s3, settings().bucket, self.input_prefix)
        if not inputs:
            raise jobs.JobError(
                f"{self.input_prefix} is empty: work files expire; clear this run from the task 'prepare' on"
            )
        sagemaker = client("sagemaker")
        ensured = models.ensure_model(sagemaker, s3, settings(), model)
        job = jobs.plan(settings(), Window.parse(self.window), model, self.input_prefix, inputs)
        try:
            started = jobs.start(sagemaker, s3, job, ensured.artifact_written)
        except jobs.CapacityError as error:
            self._wait_for_capacity(error)
        job_address = address(settings().sagemaker_job_url, sagemaker, job=started.name)
        TransformJobLink().note(context["ti"], job_address)
        result = {
            "job": started.name,
            "model": model.name,
            "engine": model.engine,
            "artifact": model.artifact_uri,
            "artifact_written": ensured.artifact_written.isoformat(),
            "output": job.output_prefix,
            "reused": not started.created,
        }
        if started.state == jobs.COMPLETED:
            return result
        self._running = (sagemaker, started.name)
        outputs = sorted(job.outputs)
        state, reason = jobs.watch(sagemaker, started.name, _PATIENCE)
        if state not in jobs.ENDED:
            self._wait_for_job(result, outputs)
        return self.finish(context, {"state": state, "reason": reason}, result, outputs)

    def finish(
        self, context: Context, event: dict[str, str], result: dict[str, Any], outputs: list[str]
    ) -> dict[str, Any]:
        """Returns the output of a completed job; raises `JobError` for any other end.

        Raises `ModelError` if the job may have run another artifact than the verified one. If a joined job
        was stopped, another task did that, and this one starts its own.
        """
        from include.labeling import jobs, models

        name, state = result["job"], event["state"]
        if state == jobs.STOPPED and result["reused"]:
            self.log.info("job=%s was stopped by the task that started it", name)
            return self.execute(context)
        if state != jobs.COMPLETED:
            raise jobs.JobError(
                f"job {name} is {state}: {event['reason'][:_REASON_LENGTH] or 'no reason given'}; "
                "see its log in CloudWatch, group /aws/sagemaker/TransformJobs"
            )
        written = datetime.fromisoformat(result["artifact_written"])
        models.check_unreplaced(
            client("s3"), result["artifact"], written, jobs.began(client("sagemaker"), name)
        )
        there = {key for key, _ in jobs.list_job_objects(client("s3"), settings().bucket, result["output"])}
        missing = sorted(set(outputs) - there)
        if missing:
            raise jobs.JobError(f"job {name} has completed without {len(missing)} outputs, as {missing[0]}")
        self.log.info("job=%s state=%s outputs=%d", name, state, len(outputs))
        return result

    def try_again(self, context: Context, event: Any) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Tries again to start the job."""
        return self.execute(context)

    def on_kill(self) -> None:
        """Stops the job when the task is killed between starting it and deferring."""
        from include.labeling import jobs

        if self._running is not None:
            jobs.stop(*self._running)

    def _wait_for_job(self, result: dict[str, Any], outputs: list[str]) -> NoReturn:
        self.defer(
            trigger=PollingTrigger.of(TransformJobWatch, {"job_name": result["job"]}),
            method_name="finish",
            kwargs={"result": result, "outputs": outputs},
        )

    def _wait_for_capacity(self, error: CapacityError) -> NoReturn:
        self.log.warning("no capacity, trying again in %s: %s", _CAPACITY_WAIT, error)
        self.defer(trigger=TimeDeltaTrigger(_CAPACITY_WAIT), method_name="try_again")
