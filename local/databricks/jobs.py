"""Jobs and who may use them: the Jobs API without runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from local.databricks.answers import USER, limit_of, page_of, public_job
from local.databricks.errors import invalid
from local.databricks.records import Records
from local.databricks.settings import check_job, truth
from local.databricks.states import now


class Jobs:
    """All jobs. Public methods take and return what the Jobs API does; they raise `ApiError`."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def create_job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Keeps a job."""
        settings = dict(request)
        access = settings.pop("access_control_list", None)
        checked = check_job(settings)
        with self._records.changed:
            job_id = self._records.new_identity()
            self._records.save_job({"job_id": job_id, "created_time": now(), "settings": checked, "runs": 0})
            if access is not None:
                self.set_permissions(job_id, {"access_control_list": access})
        return {"job_id": job_id}

    def job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One job with its settings."""
        return public_job(self._records.job(request), expand=True)

    def list_jobs(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A page of jobs, the newest first."""
        limit = limit_of(request, 20, 100)
        expand = truth(request.get("expand_tasks", False), "expand_tasks")
        name = request.get("name")
        with self._records.changed:
            jobs = [
                job
                for job in reversed(self._records.jobs.values())
                if name is None or job["settings"]["name"].lower() == str(name).lower()
            ]
            page = page_of(jobs, request, limit)
            return {**page, "jobs": [public_job(job, expand) for job in page["jobs"]]}

    def reset_job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces all settings of a job."""
        return self._change_job(request, lambda _: check_job(self._new_settings(request)))

    def update_job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Changes some settings of a job; tasks and job clusters are merged by their keys."""
        removed = request.get("fields_to_remove") or []
        if any("/" in name for name in removed):
            raise invalid("fields_to_remove of single tasks or clusters is not supported.")

        def change(settings: dict[str, Any]) -> dict[str, Any]:
            changed = {name: value for name, value in settings.items() if name not in removed}
            keys = {"tasks": "task_key", "job_clusters": "job_cluster_key", "parameters": "name"}
            for name, value in (request.get("new_settings") or {}).items():
                if name in keys and name in changed:
                    merged = {entry[keys[name]]: entry for entry in (*changed[name], *value)}
                    changed[name] = list(merged.values())
                else:
                    changed[name] = value
            return check_job(changed)

        return self._change_job(request, change)

    def delete_job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Deletes a job; its runs stay."""
        with self._records.changed:
            job_id = self._records.job(request)["job_id"]
            self._records.delete_job(job_id)
        return {}

    def permissions(self, job_id: int) -> dict[str, Any]:
        """A job's access control list."""
        with self._records.changed:
            self._records.job({"job_id": job_id})
            given = self._records.permissions.get(str(job_id), [])
        owner = {"user_name": USER, "all_permissions": [{"permission_level": "IS_OWNER", "inherited": False}]}
        listed = [
            {
                **{name: value for name, value in entry.items() if name != "permission_level"},
                "all_permissions": [{"permission_level": entry["permission_level"], "inherited": False}],
            }
            for entry in given
        ]
        has_owner = any(entry["permission_level"] == "IS_OWNER" for entry in given)
        return {
            "object_id": f"/jobs/{job_id}",
            "object_type": "job",
            "access_control_list": listed if has_owner else [owner, *listed],
        }

    def set_permissions(
        self, job_id: int, request: Mapping[str, Any], *, replace: bool = True
    ) -> dict[str, Any]:
        """Replaces a job's access control list, or adds to it."""
        levels = ("CAN_VIEW", "CAN_MANAGE_RUN", "CAN_MANAGE", "IS_OWNER")
        principals = ("user_name", "group_name", "service_principal_name")
        entries = request.get("access_control_list") or []
        for entry in entries:
            if entry.get("permission_level") not in levels:
                raise invalid(f"permission_level must be one of {', '.join(levels)}.")
            if sum(name in entry for name in principals) != 1:
                raise invalid(f"An entry names exactly one of {', '.join(principals)}.")
        with self._records.changed:
            self._records.job({"job_id": job_id})
            kept = [] if replace else self._records.permissions.get(str(job_id), [])
            named = {
                json.dumps([entry.get(name) for name in principals]): entry for entry in (*kept, *entries)
            }
            self._records.save_permissions(job_id, list(named.values()))
        return self.permissions(job_id)

    def _new_settings(self, request: Mapping[str, Any]) -> dict[str, Any]:
        settings = request.get("new_settings")
        if not isinstance(settings, Mapping):
            raise invalid("new_settings must be specified.")
        return {name: value for name, value in settings.items() if name != "access_control_list"}

    def _change_job(
        self, request: Mapping[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        with self._records.changed:
            job = self._records.job(request)
            job["settings"] = change(job["settings"])
            self._records.save_job(job)
        return {}
