"""One endpoint for all of AWS: moto, with Firehose, SageMaker, Athena and QuickSight made to work.

Start with `server.py` (who is asked what) and `__main__.py` (how it is put together). Athena's API in
`athena/` stands in front of the Trino that `trino.py` starts.
"""
