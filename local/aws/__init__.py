"""One endpoint for all of AWS: moto, with working Firehose, SageMaker, Athena and QuickSight.

Start with `server.py` (which service answers what) and `__main__.py` (how it is assembled). Athena's API in
`athena/` stands in front of the Trino that `trino.py` starts.
"""
