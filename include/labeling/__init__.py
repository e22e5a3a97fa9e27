"""From an hour's raw lines to its labeled tweets: prepare, ask the models, publish.

Start with `prepare.py` (raw lines to shards, in two passes: `slices.py`, `shards.py`) and `model_io.py` (what
models are asked and answer), then `jobs.py` and `models.py` (SageMaker), then `publish.py`. `e5/` is the
embedded sentiment model, `ngram/` the faster one within it. Of the other packages it imports `compliance`,
`lake` and `x`.
"""
