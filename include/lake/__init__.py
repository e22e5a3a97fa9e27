"""The lake: the keys of its objects, their columns, and the only ways to read and write them.

Start with `layout.py` (keys), `schemas.py` (columns) and `storage.py` (S3, with compare-and-swap).
`tables.py` reads and writes small tables as objects, `athena.py` runs the statements of `sql/`. Imports no
other package of `include`.
"""
