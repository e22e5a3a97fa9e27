"""Prepare: what becomes of every raw line of an hour."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import itertools
import json
import tempfile
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from types_boto3_s3 import S3Client

from include.labeling import model_io, payload, prepare, slices
from include.labeling.prepared import Prepared
from include.lake import layout, storage
from include.lake.pseudonyms import Pseudonyms
from include.window import Window
from tests.unit import support_hour as hour
from tests.unit.support_hour import BUCKET, KEY, SETTINGS, TOPICS, WINDOW, line, tweet, tweet_id


def translated(text: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {"id": entry["id"], "translated_text": text}


def quarantined(s3: S3Client, prepared: Prepared, topic: str = "ukraine") -> list[dict[str, Any]]:
    return hour.json_lines(s3, prepared.quarantine_key(topic))


def only(values: list[Any]) -> Any:
    (value,) = values
    return value


# What a payload becomes


def test_a_payload_becomes_a_row_with_the_authors_and_the_places_fields(s3: S3Client) -> None:
    identifier = tweet_id(12.345)
    raw = tweet(
        identifier,
        author_id="829647236",
        lang="fi",
        text="Hei  maailma\n&amp; 🌍",
        geo={"place_id": "p2"},
        context_annotations=[
            {"domain": {"id": "1"}, "entity": {"id": "9", "name": "Vladimir Putin"}},
            {"domain": {"id": "2"}, "entity": {"id": "8", "name": "Europe"}},
            {"domain": {"id": "3"}, "entity": {"id": "9", "name": "Vladimir Putin"}},
        ],
        includes={
            "users": [
                {"id": "1", "location": "elsewhere", "public_metrics": {"followers_count": 1}},
                {"id": "829647236", "location": "Lappeenranta", "public_metrics": {"followers_count": 61510}},
            ],
            "places": [
                {"id": "p1", "country_code": "SE", "full_name": "Umeå"},
                {"id": "p2", "country_code": "FI", "full_name": "Lappeenranta, Suomi"},
            ],
        },
        ingest={"received_at": "2026-11-20T05:00:14.750Z", "sample": 50, "rule_hash": "abc"},
    )
    hour.put_raw(s3, "ukraine", [line(raw)])
    assert only(hour.rows(s3, hour.prepare(s3))) == {
        "ts": datetime.fromisoformat("2026-11-20T05:00:12"),
        "tweet_id": identifier,
        "author_id": Pseudonyms(KEY).of("829647236"),
        "text": "Hei  maailma\n& 🌍",
        "lang": "fi",
        "country_code": "FI",
        "location": "Lappeenranta",
        "tag": "ukraine",
        "rule_hash": "abc",
        "sample": 50,
        "source": "stream",
        "received_at": datetime.fromisoformat("2026-11-20T05:00:14.750"),
        "place": "Lappeenranta, Suomi",
        "author_followers": 61510,
        "context": ["Vladimir Putin", "Europe"],
    }


def test_what_x_left_out_is_null(s3: S3Client) -> None:
    bare = tweet(tweet_id(1), author_id=None, lang=None, includes=None, ingest=None)
    hour.put_raw(s3, "ukraine", [line(bare)])
    row = only(hour.rows(s3, hour.prepare(s3)))
    assert {name for name, value in row.items() if value is not None} == {"ts", "tweet_id", "text", "tag"}


def test_a_null_is_as_good_as_an_absent_field(s3: S3Client) -> None:
    nulls = tweet(tweet_id(1))
    nulls["data"] |= dict.fromkeys(["author_id", "lang", "geo", "context_annotations", "entities"])
    parts = tweet(
        tweet_id(2),
        geo={"place_id": "p1"},
        context_annotations=[None, {"domain": {"id": "1"}}, {"entity": None}, {"entity": {"name": "Kyiv"}}],
        includes={"users": [None, {"location": "nowhere"}, {"id": "829647236"}], "places": [None, {}]},
    )
    nothing = {**tweet(tweet_id(3)), "includes": {"users": None, "places": None}, "ingest": None}
    hour.put_raw(s3, "ukraine", [line(nulls), line(parts), line(nothing)])
    rows = hour.rows(s3, hour.prepare(s3))
    absent = ("author_id", "lang", "location", "country_code", "place", "author_followers")
    assert all(rows[0][name] is None for name in absent)
    assert rows[1]["context"] == ["Kyiv"]
    assert [rows[1][name] for name in absent[2:]] == [None] * 4
    assert (rows[2]["location"], rows[2]["rule_hash"]) == (None, None)


@pytest.mark.parametrize("half", [rb"\ud83d", b"\xed\xa0\xbd"])
def test_half_an_emoji_costs_one_character_and_no_tweet(s3: S3Client, half: bytes) -> None:
    broken = line(tweet(tweet_id(1), text="Kyiv {half}!", author_id="5{half}")).replace(b"{half}", half)
    hour.put_raw(s3, "ukraine", [broken])
    prepared = hour.prepare(s3)
    row = only(hour.rows(s3, prepared))
    assert (row["text"], row["author_id"]) == ("Kyiv \ufffd!", Pseudonyms(KEY).of("5\ufffd"))


def test_a_byte_that_is_no_text_costs_no_tweet_where_nothing_is_read(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1), source="{byte}")).replace(b"{byte}", b"\xff")])
    assert only(hour.rows(s3, hour.prepare(s3)))["tweet_id"] == tweet_id(1)


def test_an_author_who_is_not_included_has_no_location(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1), author_id="5"))])
    row = only(hour.rows(s3, hour.prepare(s3)))
    assert (row["location"], row["author_followers"]) == (None, None)
    assert row["author_id"] == Pseudonyms(KEY).of("5")


def test_times_are_utc_whatever_zone_they_are_written_in(s3: S3Client) -> None:
    raw = tweet(tweet_id(60), created_at="2026-11-20T07:01:00+02:00")
    hour.put_raw(s3, "ukraine", [line(raw)])
    assert only(hour.rows(s3, hour.prepare(s3)))["ts"] == datetime.fromisoformat("2026-11-20T05:01:00")


@given(key=st.binary(min_size=1, max_size=100), author=st.from_regex(r"[0-9]{1,19}", fullmatch=True))
def test_the_pseudonym_is_the_beginning_of_the_hmac_as_a_signed_integer(key: bytes, author: str) -> None:
    digest = hmac.digest(key, author.encode(), "sha256")
    assert Pseudonyms(key).of(author) == int.from_bytes(digest[:8], "big", signed=True)


def test_an_empty_key_is_rejected() -> None:
    with pytest.raises(ValueError, match="pseudonym key is empty"):
        Pseudonyms(b"")


# What is quarantined, and why


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (tweet(tweet_id(1), text=None), "missing_text"),
        (tweet(tweet_id(1), text=""), "missing_text"),
        (tweet(tweet_id(-1)), "outside_window"),
        (tweet(tweet_id(3600)), "outside_window"),
        (tweet(tweet_id(1), created_at="2026-11-20T04:59:59.999Z"), "outside_window"),
        (tweet(tweet_id(1), created_at="2026-11-20T06:00:00.000Z"), "outside_window"),
        (tweet(tweet_id(1), topics=("ukraine", "russia")), "overlap"),
        (tweet(tweet_id(1), topics=("chess",)), "unknown_topic"),
        (tweet(tweet_id(1), topics=("russia",)), "unknown_topic"),
        (tweet(tweet_id(1), matching_rules=None), "unknown_topic"),
        (tweet(tweet_id(1), matching_rules=[{"id": "1"}]), "unknown_topic"),
        (tweet(tweet_id(1), created_at=None), "not_a_payload"),
        (tweet(tweet_id(1), created_at="yesterday"), "not_a_payload"),
        (tweet(tweet_id(1), created_at=5), "not_a_payload"),
        (tweet(tweet_id(1), text=["a"]), "not_a_payload"),
        (tweet(tweet_id(1), lang=7), "not_a_payload"),
        (tweet(tweet_id(1), author_id=7), "not_a_payload"),
        (tweet(tweet_id(1), ingest={"sample": "all"}), "not_a_payload"),
        (tweet(tweet_id(1), ingest={"sample": 2**40}), "not_a_payload"),
        (tweet(tweet_id(1), ingest={"received_at": "now"}), "not_a_payload"),
        (tweet(tweet_id(1), includes=[1]), "not_a_payload"),
        (tweet(tweet_id(1), matching_rules=[{"tag": 5}]), "not_a_payload"),
        (tweet(tweet_id(1), note_tweet={"text": 5}), "not_a_payload"),
        (tweet(tweet_id(1), context_annotations=[1]), "not_a_payload"),
        ({**tweet(tweet_id(1)), "data": {**tweet(tweet_id(1))["data"], "created_at": None}}, "not_a_payload"),
    ],
)
def test_a_line_with_an_id_that_cannot_be_used_is_quarantined_with_its_reason(
    s3: S3Client, raw: dict[str, Any], reason: str
) -> None:
    hour.put_raw(s3, "russia", [line(tweet(tweet_id(2), topics=("russia",)))])
    key = hour.put_raw(s3, "ukraine", [line(raw), line(tweet(tweet_id(3)))])
    prepared = hour.prepare(s3)
    assert prepared.quarantined == {"ukraine": {reason: 1}, "russia": {}}
    assert prepared.raw == {"ukraine": 2, "russia": 1}
    assert prepared.accepted == {"ukraine": 1, "russia": 1}
    assert prepared.lines_without_id == {}
    assert only(quarantined(s3, prepared)) == {
        "stage": "transform",
        "reason": reason,
        "origin": key,
        "tweet_id": raw["data"]["id"],
        "line": line(raw).decode(),
    }


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "malformed_json"),
        (b'{"data": {"id": "1"}} {"data"', "malformed_json"),
        (b'{"data": ' + b"[" * 50_000, "malformed_json"),
        (b'{"data": {"id": "1", "text": "\xff"}}', "malformed_json"),
        (b"[1, 2]", "not_a_payload"),
        (b"5", "not_a_payload"),
        (b"null", "not_a_payload"),
        (b'{"data": "text"}', "not_a_payload"),
        (b'{"errors": []}', "not_a_payload"),
        (b'{"data": {"text": "a"}}', "missing_id"),
        (b'{"data": {"id": "", "text": "a"}}', "missing_id"),
        (b'{"data": {"id": "12a", "text": "a"}}', "missing_id"),
        ('{"data": {"id": "١٢", "text": "a"}}'.encode(), "missing_id"),
        (b'{"data": {"id": "9223372036854775808", "text": "a"}}', "missing_id"),
        (b'{"data": {"id": null, "text": "a"}}', "missing_id"),
        (b'{"data": {"id": true, "text": "a"}}', "missing_id"),
    ],
)
def test_a_line_without_an_id_is_quarantined_and_counted_apart(s3: S3Client, raw: bytes, reason: str) -> None:
    key = hour.put_raw(s3, "ukraine", [raw, line(tweet(tweet_id(1))), raw])
    prepared = hour.prepare(s3)
    assert prepared.lines_without_id == {reason: 2}
    assert prepared.raw["ukraine"] == prepared.accepted["ukraine"] == 1
    assert prepared.quarantined["ukraine"] == {}
    expected = {
        "stage": "transform",
        "reason": reason,
        "origin": key,
        "tweet_id": None,
        "line": raw.decode(errors="backslashreplace"),
    }
    assert quarantined(s3, prepared) == [expected, expected]


def test_the_first_and_the_last_millisecond_of_the_hour_belong_to_it(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(0))), line(tweet(tweet_id(3599.999)))])
    assert hour.prepare(s3).accepted["ukraine"] == 2


def test_a_rule_of_no_topic_beside_the_topics_own_does_no_harm(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1), topics=("chess", "ukraine")))])
    assert hour.prepare(s3).accepted["ukraine"] == 1


def test_a_tweet_in_the_raw_of_two_topics_is_an_overlap_in_both(s3: S3Client) -> None:
    for topic in TOPICS:
        hour.put_raw(
            s3,
            topic,
            [
                line(tweet(tweet_id(1), topics=(topic,))),
                line(tweet(tweet_id(2), topics=(topic,), text=topic)),
            ],
        )
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(3)))], name="more.gz")
    prepared = hour.prepare(s3)
    assert prepared.raw == {"ukraine": 3, "russia": 2}
    assert prepared.accepted == {"ukraine": 1, "russia": 0}
    assert prepared.quarantined == {"ukraine": {"overlap": 2}, "russia": {"overlap": 2}}
    for topic in TOPICS:
        assert [
            json.loads(row["line"])["matching_rules"][0]["tag"] for row in quarantined(s3, prepared, topic)
        ] == [topic] * 2


def test_one_line_that_says_overlap_outweighs_a_recovered_one_that_does_not(s3: S3Client) -> None:
    both = line(tweet(tweet_id(1), topics=TOPICS))
    searched = line(
        tweet(tweet_id(1), ingest={"source": "search", "received_at": "2026-11-20T05:00:00.000Z"})
    )
    hour.put_raw(s3, "ukraine", [searched, both])
    prepared = hour.prepare(s3)
    assert prepared.quarantined["ukraine"] == {"overlap": 1}
    assert only(quarantined(s3, prepared))["line"] == both.decode()


def test_a_raw_object_that_is_cut_gives_its_lines_and_a_quarantined_rest(s3: S3Client) -> None:
    key = layout.raw_prefix("ukraine", WINDOW) + "cut.gz"
    whole = gzip.compress(line(tweet(tweet_id(1))) + b"\n")
    s3.put_object(Bucket=BUCKET, Key=key, Body=whole + gzip.compress(b"x" * 1000)[:-10])
    prepared = hour.prepare(s3)
    assert prepared.accepted["ukraine"] == 1
    assert prepared.lines_without_id == {"corrupt_object": 1}
    assert only(quarantined(s3, prepared)) == {
        "stage": "transform",
        "reason": "corrupt_object",
        "origin": key,
        "tweet_id": None,
        "line": "",
    }


# Duplicates


def duplicate(received: float, source: str, text: str) -> bytes:
    at = WINDOW.start + timedelta(seconds=received)
    ingest = {"received_at": f"{at:%Y-%m-%dT%H:%M:%S}.000Z", "source": source}
    return line(tweet(tweet_id(1), text=text, ingest=ingest))


@pytest.mark.parametrize(
    ("kept", "others"),
    [
        (duplicate(5, "search", "kept"), [duplicate(6, "stream", "later")]),
        (duplicate(5, "stream", "kept"), [duplicate(5, "search", "searched")]),
        (duplicate(5, "stream", "a kept"), [duplicate(5, "stream", "b"), duplicate(5, "stream", "c")]),
        (duplicate(5, "stream", "kept"), [line(tweet(tweet_id(1), text="never received", ingest=None))]),
        (duplicate(9, "stream", "kept"), [line(tweet(tweet_id(1), text=None))]),
    ],
    ids=["the earliest", "stream before search", "by the line", "a known time", "usable before broken"],
)
def test_the_same_duplicate_is_kept_in_any_order(s3: S3Client, kept: bytes, others: list[bytes]) -> None:
    for order in itertools.permutations([kept, kept, *others]):
        for number, entry in enumerate(order):
            hour.put_raw(s3, "ukraine", [entry], name=f"{number}.gz")
        prepared = hour.prepare(s3)
        assert [row["text"] for row in hour.rows(s3, prepared)] == [json.loads(kept)["data"]["text"]]
        assert prepared.raw["ukraine"] == prepared.accepted["ukraine"] == 1
        assert prepared.duplicates == {"ukraine": 1 + len(others), "russia": 0}


# The whole


def test_an_hour_without_raw_has_no_shards_and_empty_quarantines(s3: S3Client) -> None:
    prepared = hour.prepare(s3)
    assert (prepared.shards, prepared.objects, prepared.to_label, prepared.to_translate) == (0, 0, 0, 0)
    assert prepared.raw == prepared.accepted == prepared.duplicates == {"ukraine": 0, "russia": 0}
    assert [quarantined(s3, prepared, topic) for topic in TOPICS] == [[], []]


def test_other_hours_and_layers_are_not_read(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1)))])
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(3601)))], window=WINDOW.next)
    hour.put_raw(s3, "chess", [line(tweet(tweet_id(2), topics=("chess",)))])
    prepared = hour.prepare(s3)
    assert prepared.raw == {"ukraine": 1, "russia": 0}


def test_prepared_passes_through_json(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1))), b"{", line(tweet(tweet_id(2), text=None))])
    prepared = hour.prepare(s3)
    text = json.dumps(prepared.to_json())
    assert Prepared.from_json(json.loads(text)) == prepared
    assert "text of" not in text


def test_the_manifest_is_the_digest_of_the_sorted_keys_and_etags(s3: S3Client) -> None:
    keys = [hour.put_raw(s3, topic, [line(tweet(tweet_id(1), topics=(topic,)))]) for topic in TOPICS]
    digest = hashlib.sha256()
    for key in sorted(keys):
        digest.update(f"{key}\0{s3.head_object(Bucket=BUCKET, Key=key)['ETag']}\n".encode())
    assert hour.prepare(s3).manifest == digest.hexdigest()


def test_other_raw_or_other_topics_give_another_prefix(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1)))])
    prefixes = {hour.prepare(s3).prefix, hour.prepare(s3, ("ukraine",)).prefix}
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1)))], name="more.gz")
    prefixes.add(hour.prepare(s3).prefix)
    assert len(prefixes) == 3
    assert all(prefix.startswith(layout.work_prefix(WINDOW)) for prefix in prefixes)


def test_an_object_that_is_replaced_after_the_listing_stops_the_task(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1)))])
    listing = storage.list_objects

    def list_and_replace(client: S3Client, bucket: str, prefix: str) -> storage.Listing:
        found = listing(client, bucket, prefix)
        hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(2)))])
        return found

    monkeypatch.setattr(storage, "list_objects", list_and_replace)
    with pytest.raises(storage.ObjectChangedError):
        hour.prepare(s3)


@pytest.mark.parametrize("damaged", [True, False])
def test_nothing_is_left_on_the_local_disk(
    s3: S3Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1)))])
    if damaged:
        monkeypatch.setattr(storage, "put", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            hour.prepare(s3)
    else:
        hour.prepare(s3)
    assert list(tmp_path.iterdir()) == []


# The models' inputs


def test_only_named_languages_other_than_english_are_translated_one_after_the_other(s3: S3Client) -> None:
    languages = ["en", "uk", "und", None, "es", "qme", "zxx", "uk"]
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(n), lang=lang)) for n, lang in enumerate(languages, 1)])
    prepared = hour.prepare(s3)
    assert (prepared.to_translate, prepared.to_label) == (3, 4)
    assert hour.json_lines_under(s3, prepared.translation_input) == [
        {"id": str(tweet_id(n)), "text": f"text of {tweet_id(n)}", "lang": lang}
        for n, lang in ((5, "es"), (2, "uk"), (8, "uk"))
    ]


def test_the_sentiment_input_holds_the_translation_where_there_is_one(s3: S3Client) -> None:
    languages = ["en", "uk", "es", "de", "und"]
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(n), lang=lang)) for n, lang in enumerate(languages, 1)])
    prepared = hour.prepare(s3)

    def translator(entry: dict[str, Any]) -> dict[str, Any] | None:
        known = {
            "uk": {"id": entry["id"], "translated_text": "in English"},
            "es": {"id": entry["id"], "error": "too long"},
        }
        return known.get(entry["lang"])

    output = hour.answer(s3, prepared.translation_input, "translated", translator)
    composed = model_io.compose_sentiment_input(s3, SETTINGS, prepared, output)
    assert [(entry["text"], entry["lang"]) for entry in hour.json_lines_under(s3, composed)] == [
        (f"text of {tweet_id(1)}", "en"),
        ("in English", "en"),
        (f"text of {tweet_id(3)}", "es"),
        (f"text of {tweet_id(4)}", "de"),
    ]


def test_the_sentiment_inputs_prefix_says_what_is_in_it(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1), lang="uk"))])
    prepared = hour.prepare(s3)

    def composed(output: str | None) -> str:
        return model_io.compose_sentiment_input(s3, SETTINGS, prepared, output)

    outputs = [
        hour.answer(
            s3,
            prepared.translation_input,
            name,
            partial(translated, text),
        )
        for name, text in (("a", "one"), ("b", "one"), ("c", "two"))
    ]
    plain, first, same, other = (composed(output) for output in (None, *outputs))
    assert first == same
    assert len({plain, first, other}) == 3
    assert first.startswith(f"{prepared.prefix}sentiment/input-")


# Laws


SECONDS = st.sampled_from([0, 1, 2, 600, 1200, 1800, 2700, 3599, 3600, -1])
CHANGES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"text": None},
        {"text": "other"},
        {"lang": "uk"},
        {"lang": 5},
        {"ingest": {"source": "search"}},
        {"ingest": {"received_at": "2026-11-20T05:10:00.000Z"}},
        {"includes": None},
    ]
)
BROKEN = [b"{", b"[]", b'{"data": {}}', b'{"data": {"id": "x"}}', b'{"data": {"id": "5"}}']


def placed(
    topic: str, tags: tuple[str, ...] | None, second: int, changes: dict[str, Any]
) -> tuple[str, bytes]:
    return topic, line(tweet(tweet_id(second), topics=(topic,) if tags is None else tags, **changes))


TAGS = st.sampled_from([None, None, None, None, ("ukraine",), TOPICS, ("chess",), ()])
PLACED = st.lists(
    st.one_of(
        st.builds(placed, st.sampled_from(TOPICS), TAGS, SECONDS, CHANGES),
        st.builds(placed, st.just("ukraine"), st.none(), SECONDS, CHANGES),
        st.tuples(st.sampled_from(TOPICS), st.sampled_from(BROKEN)),
    ),
    max_size=40,
)
LAWS = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def identifier_of(entry: bytes) -> int | None:
    """A line's tweet id, told by other code than prepare's."""
    try:
        identifier = json.loads(entry)["data"]["id"]
    except (ValueError, KeyError, TypeError):
        return None
    return int(identifier) if identifier.isdecimal() else None


def ids_of(lines: list[tuple[str, bytes]], topic: str) -> set[int]:
    found = {identifier_of(entry) for name, entry in lines if name == topic}
    return {identifier for identifier in found if identifier is not None}


def place(s3: S3Client, lines: list[tuple[str, bytes]], objects: int) -> None:
    hour.empty(s3)
    for topic in TOPICS:
        mine = [entry for name, entry in lines if name == topic]
        for number in range(objects):
            hour.put_raw(s3, topic, mine[number::objects], name=f"{number}.gz")


@LAWS
@given(lines=PLACED, objects=st.integers(1, 3), slice_bytes=st.sampled_from([40, 200, 10**7]))
def test_nothing_vanishes(
    s3: S3Client, lines: list[tuple[str, bytes]], objects: int, slice_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "_BYTES_PER_SLICE", slice_bytes)
        patch.setattr(slices, "_BATCH", 7)
        place(s3, lines, objects)
        prepared = hour.prepare(s3)
        accepted = hour.rows(s3, prepared)
        assert [row["tweet_id"] for row in accepted] == sorted({row["tweet_id"] for row in accepted})
        with_id = 0
        for topic in TOPICS:
            ids = ids_of(lines, topic)
            kept = {row["tweet_id"] for row in accepted if row["tag"] == topic}
            rejected = [row["tweet_id"] for row in quarantined(s3, prepared, topic) if row["tweet_id"]]
            assert len(rejected) == len(set(rejected))
            assert kept | {int(identifier) for identifier in rejected} == ids
            assert len(kept) + len(rejected) == len(ids)
            assert prepared.raw[topic] == len(ids)
            assert prepared.accepted[topic] == len(kept)
            assert sum(prepared.quarantined[topic].values()) == len(rejected)
            with_id += prepared.raw[topic] + prepared.duplicates[topic]
        assert with_id + sum(prepared.lines_without_id.values()) == len(lines)


@LAWS
@given(lines=PLACED, data=st.data())
def test_the_order_of_objects_and_duplicates_change_nothing(
    s3: S3Client, lines: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    with_ids = [entry for entry in lines if identifier_of(entry[1]) is not None]
    duplicates = data.draw(st.lists(st.sampled_from(with_ids), max_size=5)) if with_ids else []
    shuffled = data.draw(st.permutations(lines + duplicates))
    with pytest.MonkeyPatch.context() as patch:
        place(s3, lines, 1)
        first = contents(s3, hour.prepare(s3))
        patch.setattr(slices, "_BATCH", 5)
        place(s3, shuffled, 2)
        assert contents(s3, hour.prepare(s3)) == first


def contents(s3: S3Client, prepared: Prepared) -> tuple[bytes, ...]:
    """Everything that was written, without the names of the raw objects."""
    written = {
        found.key.removeprefix(prepared.prefix): storage.read(s3, BUCKET, found.key)
        for found in storage.list_objects(s3, BUCKET, prepared.prefix).objects
    }
    for topic in TOPICS:
        rows = quarantined(s3, prepared, topic)
        written[f"quarantine/{topic}.json.gz"] = json.dumps(
            [{**row, "origin": None} for row in rows]
        ).encode()
    return tuple(entry for name in sorted(written) for entry in (name.encode(), written[name]))


def test_the_same_raw_gives_the_same_bytes(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(n), lang="uk")) for n in range(50)] + [b"{"])
    first = hour.prepare(s3)
    before = {found.key: found.etag for found in storage.list_objects(s3, BUCKET, first.prefix).objects}
    again = hour.prepare(s3)
    after = {found.key: found.etag for found in storage.list_objects(s3, BUCKET, first.prefix).objects}
    assert again.prefix == first.prefix
    assert before == after
    time_in_the_gzip_header = storage.read(s3, BUCKET, first.quarantine_key("ukraine"))[4:8]
    assert time_in_the_gzip_header == bytes(4)


def test_reasons_are_the_ones_that_are_documented() -> None:
    assert set(payload.REASONS) >= {
        "malformed_json",
        "not_a_payload",
        "missing_id",
        "missing_text",
        "outside_window",
        "overlap",
        "unknown_topic",
    }


def test_a_window_of_another_hour_reads_its_own_prefix(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1)))])
    other: Window = WINDOW.next
    assert prepare.prepare(s3, SETTINGS, TOPICS, other, KEY).raw == {"ukraine": 0, "russia": 0}
