"""X's API v2: topics, the rules and queries made of them, search, ids, and the budget of posts.

Start with `topics.py`, which reads and checks the topics file. Of the other packages it imports only `lake`,
which stores the ledger of posts; the streamer and most packages build on it.
"""
