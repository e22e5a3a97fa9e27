"""Sessions and clients for X's API v2: one configurable address, time-outs, retries of safe requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests
import tweepy
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient

KNOWN_HOSTS = ("https://api.twitter.com/", "https://api.x.com/")
"""The hosts that clients hard-code as X's address (tweepy 4.17 the first)."""

PAYLOAD_FIELDS = {
    "expansions": "author_id,geo.place_id",
    "tweet.fields": "author_id,context_annotations,created_at,edit_history_tweet_ids,geo,lang,note_tweet,"
    "public_metrics,referenced_tweets",
    "user.fields": "location,public_metrics",
    "place.fields": "country_code,full_name",
}
"""The fields requested besides id and text: only those that the labeled columns need.

X truncates a long post's text at 280 characters; ``note_tweet`` has all of it.
"""

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 30.0


class TokenError(RuntimeError):
    """There is no usable bearer token."""


class RequestRejectedError(RuntimeError):
    """X rejects a request for a reason that waiting does not resolve; ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


_REJECTIONS = {
    400: "it does not accept the request",
    401: "it does not accept the token",
    402: "the account has no credits left; buy some in X's developer console",
    403: "the app may not use this endpoint",
}
_USAGE_CAP = "the account's usage cap is reached; raise it in X's developer console, or wait for the next"


def rejection(error: tweepy.HTTPException) -> RequestRejectedError | None:
    """The error to raise instead of ``error`` if waiting does not help, else None.

    A 429 is a rate limit, which passes within minutes, or the account's usage cap, which does not: X names it
    by title (``UsageCapExceeded``), type (``…/usage-capped``) and ``period`` (``Monthly``). Source: answers
    published by users of the API (xdevplatform/xdk issue 25, February 2026).
    """
    status = int(error.response.status_code)
    if status in _REJECTIONS:
        return RequestRejectedError(status, f"X says {status}: {_REJECTIONS[status]}")
    if status == 429 and _is_usage_cap(error.response):
        return RequestRejectedError(status, f"X says {status}: {_USAGE_CAP}")
    return None


def _is_usage_cap(response: requests.Response) -> bool:
    try:
        body = response.json()
    except ValueError:
        return False
    if not isinstance(body, dict):
        return False
    title, kind = str(body.get("title")), str(body.get("type"))
    return title == "UsageCapExceeded" or kind.endswith("/usage-capped") or bool(body.get("period"))


class XSession(requests.Session):
    """A session that sends requests for `KNOWN_HOSTS` to ``base_url``.

    Every request has a time-out. ``read_seconds`` is the longest wait between two bytes.
    """

    def __init__(self, base_url: str, read_seconds: float = _READ_SECONDS) -> None:
        super().__init__()
        self._base_url = base_url.rstrip("/") + "/"
        self._timeout = (_CONNECT_SECONDS, read_seconds)

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As `requests.Session.request`, to the configured address."""
        address = url.decode() if isinstance(url, bytes) else url
        for host in KNOWN_HOSTS:
            if address.startswith(host):
                address = self._base_url + address.removeprefix(host)
        kwargs["timeout"] = self._timeout
        return super().request(method, address, *args, **kwargs)


def api_client(settings: Settings, token: str) -> tweepy.Client:
    """A tweepy client that returns plain dicts.

    Reads are repeated on connection errors and 5xx; a 429 is raised at once as `tweepy.TooManyRequests`, so
    that the caller decides how long to wait.
    """
    client = tweepy.Client(token, return_type=dict, wait_on_rate_limit=False)
    session = XSession(settings.x_api_url)
    retry = Retry(
        total=4,
        backoff_factor=0.5,
        backoff_jitter=0.5,
        status_forcelist=(500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", HTTPAdapter(max_retries=retry))
    client.session = session
    return client


def bearer_token(secretsmanager: SecretsManagerClient, settings: Settings) -> str:
    """X's bearer token from Secrets Manager; raises `TokenError` if the secret is missing or empty."""
    try:
        secret = secretsmanager.get_secret_value(SecretId=settings.x_token_secret).get("SecretString", "")
    except secretsmanager.exceptions.ResourceNotFoundException as error:
        raise TokenError(
            f"Secrets Manager has no secret '{settings.x_token_secret}'; put X's bearer token there"
        ) from error
    if not secret.strip():
        raise TokenError(f"the secret '{settings.x_token_secret}' is empty; put X's bearer token there")
    return secret.strip()
