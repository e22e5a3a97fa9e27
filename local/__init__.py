"""What stands in for the clouds on one machine, and `make run`, which starts it all.

Start with `run.py`. `x_api/`, `aws/` and `databricks/` are servers that real clients talk to; they refuse
what the real service refuses. Nothing that is deployed imports this package.
"""
