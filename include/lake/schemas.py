"""The lake's columns, defined once: for what is written, for the tables and for the docs."""

from __future__ import annotations

import pyarrow as pa

LABELED = pa.schema(
    [
        ("ts", pa.timestamp("ms")),
        ("tweet_id", pa.int64()),
        ("author_id", pa.int64()),
        ("text", pa.string()),
        ("lang", pa.string()),
        ("country_code", pa.string()),
        ("location", pa.string()),
        ("tag", pa.string()),
        ("translated_text", pa.string()),
        ("sentiment", pa.string()),
        ("score", pa.float64()),
        ("p_negative", pa.float64()),
        ("p_neutral", pa.float64()),
        ("p_positive", pa.float64()),
        ("unlabeled_reason", pa.string()),
        ("translation_engine", pa.string()),
        ("sentiment_engine", pa.string()),
        ("rule_hash", pa.string()),
        ("sample", pa.int32()),
        ("source", pa.string()),
        ("received_at", pa.timestamp("ms")),
        ("place", pa.string()),
        ("author_followers", pa.int64()),
        ("context", pa.list_(pa.string())),
    ]
)
"""One row per tweet. Timestamps are UTC without a zone: Athena's `timestamp(3)` has none."""

PREDICTIONS = pa.schema(
    [
        ("tweet_id", pa.int64()),
        ("sentiment", pa.string()),
        ("p_negative", pa.float64()),
        ("p_neutral", pa.float64()),
        ("p_positive", pa.float64()),
    ]
)
"""One row per tweet that the teacher has labeled, sorted by id; the model is in the object's key."""

OPINION_HOURLY = pa.schema(
    [
        ("hour", pa.timestamp("ms")),
        ("topic", pa.string()),
        ("lang", pa.string()),
        ("country_code", pa.string()),
        ("measured", pa.int32()),
        ("sample", pa.int32()),
        ("rule_hash", pa.string()),
        ("engine", pa.string()),
        ("translation_engine", pa.string()),
        ("tweets", pa.int64()),
        ("judged", pa.int64()),
        ("negative", pa.int64()),
        ("neutral", pa.int64()),
        ("positive", pa.int64()),
        ("score_sum", pa.float64()),
        ("compared", pa.int64()),
        ("agreed", pa.int64()),
        ("model", pa.string()),
        ("p_negative_sum", pa.float64()),
        ("p_positive_sum", pa.float64()),
    ]
)
"""One row per hour, topic, language, country and method, sorted by `AGGREGATE_KEYS`: no user's data."""

AGGREGATE_KEYS = tuple(OPINION_HOURLY.names[: OPINION_HOURLY.get_field_index("tweets")])
"""The columns that identify a row of the aggregates."""

AUDIT_DRAWN = pa.schema(
    [
        ("tweet_id", pa.int64()),
        ("dt", pa.string()),
        ("topic", pa.string()),
        ("lang", pa.string()),
        ("country_code", pa.string()),
        ("measured", pa.int32()),
        ("stratum", pa.string()),
        ("chance", pa.float64()),
        ("people", pa.int32()),
        ("sample", pa.int32()),
        ("engine", pa.string()),
        ("sentiment", pa.string()),
        ("p_negative", pa.float64()),
        ("p_neutral", pa.float64()),
        ("p_positive", pa.float64()),
    ]
)
"""One row per tweet that was drawn for the audit, sorted by id: no text, no author."""

AUDIT_PREDICTED = pa.schema(
    [
        ("tweet_id", pa.int64()),
        ("model", pa.string()),
        ("sentiment", pa.string()),
    ]
)
"""One row per drawn tweet that the champion has predicted, sorted by id."""

AUDIT_JUDGED = pa.schema(
    [
        ("tweet_id", pa.int64()),
        ("person", pa.string()),
        ("judgment", pa.string()),
        ("judged_at", pa.timestamp("ms")),
    ]
)
"""One row per tweet and person, sorted by id."""

MIX = pa.schema(
    [
        ("topic", pa.string()),
        ("engine", pa.string()),
        ("dimension", pa.string()),
        ("bin", pa.string()),
        ("tweets", pa.int64()),
        ("posts", pa.float64()),
    ]
)
"""One row per topic, model, dimension and bin of a day, sorted by these: no user's data."""

DRIFT = pa.schema(
    [
        ("topic", pa.string()),
        ("dimension", pa.string()),
        ("stability_index", pa.float64()),
        ("noise", pa.float64()),
        ("tolerated", pa.float64()),
        ("drifted", pa.int32()),
        ("audit_month", pa.string()),
        ("audited_days", pa.int64()),
        ("audited_tweets", pa.int64()),
        ("recent_days", pa.int64()),
        ("recent_tweets", pa.int64()),
    ]
)
"""One row per topic and dimension of a day's check, in this order."""

REMOVALS = pa.schema(
    [
        ("request", pa.string()),
        ("reason", pa.string()),
        ("hour", pa.string()),
        ("topic", pa.string()),
        ("layer", pa.string()),
        ("action", pa.string()),
        ("removed", pa.int64()),
        ("requested_at", pa.timestamp("ms")),
        ("done_at", pa.timestamp("ms")),
    ]
)
"""One row a request, hour, topic, layer and action: counts alone."""

USAGE = pa.schema(
    [
        ("stage", pa.string()),
        ("service", pa.string()),
        ("item", pa.string()),
        ("unit", pa.string()),
        ("quantity", pa.float64()),
        ("basis", pa.string()),
        ("origin", pa.string()),
        ("usd", pa.float64()),
        ("price_date", pa.string()),
        ("confirmed", pa.int32()),
    ]
)
"""One row per stage and item of a service on a day, sorted by these."""

SENTIMENTS = ("Negative", "Neutral", "Positive")
"""The values of `sentiment`, in the order of the model's probabilities."""

CANNOT_TELL = "Cannot tell"
"""The judgment of a person who cannot tell a tweet's sentiment; it is not counted."""

JUDGMENTS = (*SENTIMENTS, CANNOT_TELL)
"""A person's possible judgments."""

UNNAMED_LANGUAGES = frozenset({"und", "qam", "qct", "qht", "qme", "qst", "zxx", "art", ""})
"""X's codes for a language that it cannot identify (X's documentation of `lang`)."""
