"""The long-running client of X's filtered stream: reads, spools to disk, delivers to Firehose.

Start with `service.py`, which ties it together; a line passes `intake.py`, `collector.py`, `lines.py`,
`spool.py` and `delivery.py`, in packs (`packs.py`). `steward.py` maintains ledger, sample and rules, and
`status.py` reports on all of it. Of `include` it imports `x`, `settings`, `aws` and `web_guard`; it never
imports Airflow. Its runbook is `docs/streamer.md`.
"""
