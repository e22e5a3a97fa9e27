"""Great Expectations between the layers: suites, what they are run on, and the pages of their results.

Start with `suites.py`, where each expectation says whether it blocks or warns, and why. `runner.py` runs
them.
"""
