"""AWS Signature Version 4: who signed a request, and whether the signature holds.

Source: IAM User Guide, "Create a signed AWS API request", and the S3 API reference, "Authenticating Requests
(AWS Signature Version 4)". What is not offered: Signature Version 2 and 4A, and S3's form uploads (POST
Object). The chunks of a signed upload in chunks are not verified one by one, but its first signature is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from posixpath import normpath
from typing import Literal
from urllib.parse import quote, unquote, unquote_to_bytes

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_SKEW_SECONDS = 15 * 60
_LONGEST_SECONDS = 7 * 24 * 3600
"""The longest validity of a presigned URL."""

type Reason = Literal[
    "missing", "malformed", "unknown", "mismatch", "content", "skewed", "expired", "unsupported"
]


class SignatureError(Exception):
    """A request without a valid signature."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, repr=False)
class Secret:
    """An access key's secret; temporary keys have a session token and an end (seconds since 1970)."""

    key: str
    token: str | None = None
    ends: float | None = None


@dataclass(frozen=True)
class Signed:
    """The parts of a request that a signature is about; ``headers`` by names in lower case."""

    method: str
    raw_path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class _Signature:
    access_key_id: str
    scope: tuple[str, str, str]
    """Day, region and service."""
    signed_headers: str
    signature: str
    timestamp: str
    query: str
    """The canonical query; a signature among its parameters is left out."""
    payload: str
    token: str | None
    expires: int | None


def verify(
    request: Signed, secret_of: Callable[[str], Secret | None], clock: Callable[[], float] = time.time
) -> str:
    """The access key id that the request is signed with; raises `SignatureError`."""
    given = _presented(request)
    secret = secret_of(given.access_key_id)
    if secret is None:
        raise SignatureError("unknown", "The security token included in the request is invalid.")
    if (secret.token or None) != (given.token or None):
        raise SignatureError("unknown", "The session token included in the request is invalid.")
    expected = signature(request, given, secret.key)
    if not hmac.compare_digest(expected.encode(), given.signature.encode()):
        raise SignatureError(
            "mismatch",
            "The request signature we calculated does not match the signature you provided."
            " Check your AWS Secret Access Key and signing method.",
        )
    now = clock()
    if secret.ends is not None and now >= secret.ends:
        raise SignatureError("expired", "The provided token has expired.")
    _check_time(given, now)
    if re.fullmatch(r"[0-9a-f]{64}", given.payload):
        if given.payload != hashlib.sha256(request.body).hexdigest():
            raise SignatureError(
                "content", "The provided 'x-amz-content-sha256' header does not match what was computed."
            )
    elif given.payload != _UNSIGNED and not given.payload.startswith("STREAMING-"):
        raise SignatureError("malformed", f"{given.payload!r} is not a digest of a payload.")
    return given.access_key_id


def signature(request: Signed, given: _Signature, secret_key: str) -> str:
    """The expected signature of a request."""
    names = given.signed_headers.split(";")
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
    canonical = "\n".join(
        [
            request.method,
            _path(request.raw_path, given.scope[2]),
            given.query,
            headers,
            given.signed_headers,
            given.payload,
        ]
    )
    scope = "/".join([*given.scope, "aws4_request"])
    text = "\n".join([_ALGORITHM, given.timestamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    return hmac.new(_signing_key(secret_key, *given.scope), text.encode(), hashlib.sha256).hexdigest()


def _presented(request: Signed) -> _Signature:
    authorization = request.headers.get("authorization")
    parameters = _parameters(request.query)
    if authorization is not None:
        algorithm, _, rest = authorization.partition(" ")
        fields = {name: value for name, _, value in (part.strip().partition("=") for part in rest.split(","))}
        fields |= {"Date": request.headers.get("x-amz-date", "")}
        token = request.headers.get("x-amz-security-token")
        payload = request.headers.get("x-amz-content-sha256") or hashlib.sha256(request.body).hexdigest()
        expires, signed_by = None, None
    elif "X-Amz-Algorithm" in parameters:
        algorithm = parameters["X-Amz-Algorithm"]
        fields = {name.removeprefix("X-Amz-"): value for name, value in parameters.items()}
        token = parameters.get("X-Amz-Security-Token")
        lasting = parameters.get("X-Amz-Expires", "")
        if not lasting.isdecimal() or not 1 <= int(lasting) <= _LONGEST_SECONDS:
            raise SignatureError("malformed", "X-Amz-Expires must be from 1 to 604800 seconds.")
        expires, signed_by = int(lasting), "X-Amz-Signature"
        s3 = "/s3/" in fields.get("Credential", "")
        payload = _UNSIGNED if s3 else hashlib.sha256(request.body).hexdigest()
        payload = request.headers.get("x-amz-content-sha256", payload)
    elif "AWSAccessKeyId" in parameters:
        raise SignatureError("unsupported", _USE_V4)
    else:
        raise SignatureError("missing", "Request is missing Authentication Token")
    if algorithm != _ALGORITHM:
        raise SignatureError("unsupported", _USE_V4)
    credential = fields.get("Credential", "").rsplit("/", 4)
    signed_headers = fields.get("SignedHeaders", "")
    if (
        len(credential) != 5
        or credential[4] != "aws4_request"
        or "host" not in signed_headers.split(";")
        or not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", fields.get("Date", ""))
        or fields["Date"][:8] != credential[1]
        or "Signature" not in fields
    ):
        raise SignatureError("malformed", "The authorization of the request is malformed.")
    return _Signature(
        access_key_id=credential[0],
        scope=(credential[1], credential[2], credential[3]),
        signed_headers=signed_headers,
        signature=fields["Signature"],
        timestamp=fields["Date"],
        query=_canonical_query(request.query, without=signed_by),
        payload=payload,
        token=token,
        expires=expires,
    )


_USE_V4 = f"The authorization mechanism you have provided is not supported. Please use {_ALGORITHM}."


def _check_time(given: _Signature, now: float) -> None:
    then = datetime.strptime(given.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    if given.expires is None:
        if abs(now - then) > _SKEW_SECONDS:
            raise SignatureError(
                "skewed", "The difference between the request time and the current time is too large."
            )
    elif now > then + given.expires:
        raise SignatureError("expired", "Request has expired")
    elif now < then - _SKEW_SECONDS:
        raise SignatureError("skewed", "Request is not valid yet")


def _parameters(query: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _canonical_query(query: str, without: str | None) -> str:
    pairs = [
        (quote(unquote_to_bytes(name), safe="-_.~"), quote(unquote_to_bytes(value), safe="-_.~"))
        for name, _, value in (pair.partition("=") for pair in query.split("&") if pair)
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs) if name != without)


def _path(raw_path: str, service: str) -> str:
    """S3 takes the path as it is, encoded once; the others normalize it and encode it twice."""
    if service == "s3":
        return quote(unquote_to_bytes(raw_path), safe="/-_.~")
    normal = re.sub("^/+", "/", normpath(raw_path)) if raw_path else "/"
    if raw_path.endswith("/") and not normal.endswith("/"):
        normal += "/"
    return quote(normal, safe="/-_.~")


@lru_cache(64)
def _signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
