"""From an hour's raw lines to its labeled tweets: prepare, ask the models, publish.

Start with `prepare.py` (raw lines to shards, in two passes: `slices.py`, `shards.py`) and `model_io.py` (what
models are asked and answer), then `jobs.py` and `models.py` (SageMaker), then `publish.py`. `ngram/` is the
embedded sentiment model. Imports `include.lake` and `include.x`.
"""
