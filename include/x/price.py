"""The price of posts in US dollars, by the price list."""

from __future__ import annotations

from include import prices
from include.settings import settings


def cost(posts: float) -> float:
    """US dollars that X bills for ``posts``, to the cent; raises `prices.PricesError`."""
    return round(posts * prices.load(settings().prices_file).of("x", "post").usd, 2)


def dollars(posts: float) -> str:
    """The price as text: ``$1,234.50``."""
    return f"${cost(posts):,.2f}"


def priced(posts: int) -> str:
    """A number of posts with its price: ``12,000 posts ($60.00)``."""
    return f"{posts:,} {'post' if posts == 1 else 'posts'} ({dollars(posts)})"
