"""The local stand-ins for the clouds, and `make run`, which starts everything.

Start with `run.py`. `x_api/`, `aws/` and `databricks/` are servers that real clients talk to; they reject
what the real service rejects. Nothing that is deployed imports this package.
"""
