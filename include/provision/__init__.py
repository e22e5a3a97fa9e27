"""Creates or updates what the other DAGs need: database, tables, workgroup, QuickSight's assets.

Start with `lake.py`. Everything here may run twice; the second run changes nothing.
"""
