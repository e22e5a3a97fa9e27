"""X's API v2: topics, the rules and queries made of them, search, ids, and the budget of posts.

Start with `topics.py`, which reads and checks the topics file. Imports only `include.lake`, which stores the
ledger of posts; the streamer and coverage build on it.
"""
