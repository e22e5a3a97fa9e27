"""What the pipeline has used of what costs money, and what that comes to by the price list.

Start with `measure.MEASURES` and `month.Month`.
"""
