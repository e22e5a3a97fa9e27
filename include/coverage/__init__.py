"""Gap detection: what is missing, why, and what to do about it; the gap ledger and the recovery of outages.

Start with `judge.py`, which is pure: evidence in, verdict out. `measure.py` gathers the evidence,
`ledger.py` keeps the verdicts, `plan.py` decides, `recover.py` recovers. Of the other packages it imports
`compliance`, `lake` and `x`.
"""
