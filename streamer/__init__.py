"""The long-running client of X's filtered stream: reads, spools to disk, delivers to Firehose.

Start with `service.py`, which ties it together; a line's way is `intake.py`, `lines.py`, `spool.py`,
`delivery.py`. Imports `include.x` and `include.settings`, never Airflow. Its runbook is `docs/streamer.md`.
"""
