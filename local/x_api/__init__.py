"""X's API v2 on this machine: rules, stream, search, counts and compliance, over an archive of posts.

Start with `app.py` (the API). `synthetic.py` invents posts, `archive.py` replays real ones, `faults.py` and
`disturbance.py` break the stream on demand.
"""
