"""The audit: a random sample of the lake's tweets that people judge, so that ratios can be rectified by it.

Start with `wave.py` (what is drawn from at a time) and `draw.py` (how, pure); `records.py` keeps in the lake
what was drawn and what was judged; `judgments.py` reads people's judgments from files.
"""
