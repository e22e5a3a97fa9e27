"""The long-running client of X's filtered stream: reads, spools to disk, delivers to Firehose.

Start with `service.py`, which ties it together; a line's way is `intake.py`, `collector.py`, `lines.py`,
`spool.py`, `delivery.py`, in packs (`packs.py`). `steward.py` looks after ledger, sample and rules, and
`status.py` says how all of it is. Imports `include.x` and `include.settings`, never Airflow. Its runbook is
`docs/streamer.md`.
"""
