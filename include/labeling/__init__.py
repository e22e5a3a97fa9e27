"""From an hour's raw lines to its labeled tweets: prepare, ask the models, publish.

Start with `prepare.py`, then `jobs.py` and `models.py` (SageMaker), then `publish.py`. `ngram/` is the
embedded sentiment model. Imports `include.lake` and `include.x`.
"""
