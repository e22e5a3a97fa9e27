"""X's API v2: topics, the rules and queries made of them, search, ids, and the budget of posts.

Start with `topics.py`, which reads and checks the topics file. Imports `include.lake` (where the ledger of
posts lies) and no other package; the streamer and coverage build on it.
"""
