"""Lines of X's stream: what they are, and that a tweet reaches the lake as X sent it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.x.snowflake import to_milliseconds
from include.x.topics import Collection, Topic, Topics
from streamer.lines import Identity, Reader, Rejected, RuleSet, StreamError, Tweet, control
from streamer.packs import RECORD_BYTES, RECORD_LINES, kinds

AT = datetime(2026, 11, 20, 5, 0, 1, 234_567, tzinfo=UTC)
IDENTITY = Identity("session-1", "0123456789abcdef", 40)
TOPICS = Topics(
    Collection(datetime(2026, 11, 1, tzinfo=UTC), 1000, 40),
    (Topic("tea", "", {"en": ("tea", "green leaf")}), Topic("coffee", "", {"en": ("coffee",)})),
)
READER = Reader(RuleSet(IDENTITY, TOPICS))


def payload(**changes: Any) -> dict[str, Any]:
    data = {"id": "1", "text": "tea {}", "created_at": "2026-11-20T05:00:00.000Z", "lang": "en"}
    whole = {"data": data, "matching_rules": [{"id": "7", "tag": "tea"}]}
    for name, value in changes.items():
        where = whole if name in ("data", "matching_rules", "includes", "errors", "ingest", "kind") else data
        where[name] = value
    return whole


def one(line: bytes, reader: Reader = READER) -> Tweet | Rejected | StreamError:
    """What a line alone is read as."""
    read = reader.read([line], AT)
    if read.announced:
        assert not read.packs
        return StreamError(*read.announced)
    (pack,) = read.packs
    assert pack.received_ms == to_milliseconds(AT)
    if pack.marks == "q":
        (reason,) = read.rejected
        return Rejected(pack.lines, reason, bool(pack.bought))
    assert (pack.marks, pack.bought, read.tweets.total()) == ("t", 1, 1)
    (topic,) = read.tweets
    return Tweet(pack.lines, topic, bool(read.evaluated))


def read(content: Any) -> Tweet | Rejected | StreamError:
    return one(json.dumps(content).encode())


def quarantined(read: Tweet | Rejected | StreamError) -> dict[str, Any]:
    assert isinstance(read, Rejected)
    content: dict[str, Any] = json.loads(read.body)
    assert content["kind"] == "quarantine"
    assert content["stage"] == "streamer"
    assert content["reason"] == read.reason
    return content


def test_a_tweet_keeps_its_bytes_and_gains_ingest_and_one_newline() -> None:
    line = (
        '{ "data":{"id":"1","text":"чай \\u0442 😀","created_at":"2026-11-20T05:00:00.000Z"} ,'
        ' "matching_rules":[{"tag":"tea"}] }'
    )
    read = one(line.encode())
    assert isinstance(read, Tweet)
    assert (read.topic, read.evaluated) == ("tea", False)
    assert read.body.startswith(line[:-1].encode())
    assert read.body.count(b"\n") == 1
    assert read.body.endswith(b"\n")
    assert json.loads(read.body)["ingest"] == {
        "received_at": "2026-11-20T05:00:01.234Z",
        "session": "session-1",
        "rule_hash": "0123456789abcdef",
        "sample": 40,
        "source": "stream",
    }


NOT_A_PAYLOAD = [
    [],
    "text",
    17,
    None,
    {},
    {"data": []},
    payload(data="x"),
    payload(includes=[]),
    payload(id=1),
    payload(text={"a": 1}),
    payload(lang=["en"]),
    payload(ingest={}),
    payload(geo="Kyiv"),
    payload(note_tweet="whole"),
    payload(note_tweet={"text": 5}),
    payload(edit_history_tweet_ids="1"),
    payload(geo={"place_id": 5}),
    payload(public_metrics={"like_count": "many"}),
    payload(public_metrics={"like_count": 1 << 63}),
    payload(includes={"users": {"id": "1"}}),
    payload(includes={"users": ["1"]}),
    payload(includes={"users": [{"id": "1", "public_metrics": [1]}]}),
    payload(includes={"places": [{"id": "1", "full_name": ["Kyiv"]}]}),
    {**payload(), "Data": "text"},
    payload(kind="heartbeat"),
]


@pytest.mark.parametrize("content", NOT_A_PAYLOAD, ids=lambda content: json.dumps(content)[:40])
def test_json_of_another_shape_is_quarantined(content: Any) -> None:
    told = quarantined(read(content))
    assert (told["reason"], told["at"]) == ("not_a_payload", "2026-11-20T05:00:01.234Z")


@pytest.mark.parametrize(
    ("changes", "reason", "topic"),
    [
        ({"matching_rules": [], "text": "a cup of milk"}, "unknown_topic", None),
        ({"matching_rules": None, "text": "tea or coffee?"}, "unknown_topic", None),
        ({"matching_rules": [{"tag": "milk"}], "text": "steady greenleaf"}, "unknown_topic", None),
        ({"created_at": "yesterday"}, "missing_created_at", "tea"),
        ({"created_at": "20261120T050000Z"}, "missing_created_at", "tea"),
        ({"created_at": "2026-11-20T05:00:00+02:00"}, "missing_created_at", "tea"),
    ],
)
def test_a_tweet_that_has_no_place_in_the_lake_is_quarantined_and_was_still_bought(
    changes: dict[str, Any], reason: str, topic: str | None
) -> None:
    rejected = read(payload(**changes))
    content = quarantined(rejected)
    assert (content["reason"], content["topic"]) == (reason, topic)
    assert isinstance(rejected, Rejected)
    assert rejected.bought


@pytest.mark.parametrize(
    "rules",
    [
        None,
        [],
        {},
        "tea",
        [{"id": "7"}],
        [{"tag": "milk"}],
        [{"tag": ["tea"]}],
        [{"tag": "tea", "id": 7}],
        [3],
    ],
)
def test_a_tweet_that_names_no_topic_of_ours_gets_the_one_whose_rule_it_meets(rules: Any) -> None:
    found = read(payload(matching_rules=rules, text="A GREEN leaf!"))
    assert isinstance(found, Tweet)
    assert (found.topic, found.evaluated) == ("tea", True)
    line = json.loads(found.body)
    assert line["matching_rules"] == [{"tag": "tea"}]
    assert line["data"]["text"] == "A GREEN leaf!"
    assert line["ingest"]["session"] == "session-1"


def test_a_rule_of_ours_counts_beside_one_that_raw_could_not_read() -> None:
    found = read(payload(matching_rules=[{"tag": "milk", "id": 5}, {"tag": "coffee", "id": "8"}]))
    assert isinstance(found, Tweet)
    assert (found.topic, found.evaluated) == ("coffee", False)
    assert json.loads(found.body)["matching_rules"] == [{"tag": "coffee", "id": "8"}]


def test_a_tweet_of_two_topics_is_quarantined_once_in_its_own_hour() -> None:
    content = quarantined(
        read(
            payload(matching_rules=[{"tag": "coffee"}, {"tag": "tea"}], created_at="2026-11-20T04:59:59.000Z")
        )
    )
    assert (content["reason"], content["topic"], content["tweet_id"]) == ("overlap", "coffee", "1")
    assert content["at"] == "2026-11-20T04:59:59.000Z"


def test_two_rules_of_one_topic_are_no_overlap() -> None:
    found = read(payload(matching_rules=[{"id": "7", "tag": "tea"}, {"id": "9", "tag": "tea"}]))
    assert isinstance(found, Tweet)


def test_a_tweet_carries_hash_and_sample_of_the_rule_that_brought_it() -> None:
    old, new = Identity("s", "old", 100), Identity("s", "new", 40)
    reader = Reader(RuleSet(new, TOPICS, {"7": old, "8": new}))

    def ingest(*ids: str) -> tuple[str, int]:
        found = one(
            orjson.dumps(payload(matching_rules=[{"id": number, "tag": "tea"} for number in ids])), reader
        )
        assert isinstance(found, Tweet)
        content = json.loads(found.body)["ingest"]
        return content["rule_hash"], content["sample"]

    assert ingest("8") == ingest("unheard-of") == ("new", 40)
    assert ingest("7") == ("old", 100)
    assert ingest("7", "8") == ingest("8", "7") == ("old", 100), "of both together nothing is left out"


def test_a_tweet_without_id_or_text_is_left_to_the_transform() -> None:
    content = {"data": {"created_at": "2026-11-20T05:00:00.000Z"}, "matching_rules": [{"tag": "tea"}]}
    assert isinstance(read(content), Tweet)


NULLS = payload(
    lang=None,
    author_id=None,
    geo=None,
    public_metrics=None,
    referenced_tweets=None,
    entities=None,
    context_annotations=None,
    includes={"users": None, "places": None},
    errors=None,
)


@pytest.mark.parametrize("rules", [[{"id": "7", "tag": "tea"}], [{"id": None, "tag": "tea"}], [None], None])
def test_a_null_is_as_good_as_an_absent_field(rules: Any) -> None:
    found = read({**NULLS, "matching_rules": rules})
    assert isinstance(found, Tweet)
    assert (found.topic, found.evaluated) == ("tea", not (rules and rules[0]))
    assert json.loads(found.body)["data"] == NULLS["data"]


@pytest.mark.parametrize(
    "hour", ["9999-12-31T23", "0001-01-01T00", "2026-13-39T29", "2026-11-22T00", "2006-03-20T23"]
)
@pytest.mark.parametrize("usual", [True, False])
def test_a_tweet_of_an_hour_that_cannot_hold_posts_is_kept_under_the_time_of_its_receipt(
    hour: str, usual: bool
) -> None:
    """Firehose takes day and hour as the line says, and of such an hour nothing finds it."""
    rules = [{"id": "7", "tag": "tea"}] if usual else None
    told = quarantined(read(payload(created_at=f"{hour}:00:00.000Z", matching_rules=rules)))
    assert (told["reason"], told["topic"], told["at"]) == (
        "missing_created_at",
        "tea",
        "2026-11-20T05:00:01.234Z",
    )


@pytest.mark.parametrize("hour", ["2026-11-21T23", "2026-02-28T00", "2006-03-21T20"])
def test_a_clock_may_be_ahead_and_a_tweet_old(hour: str) -> None:
    assert isinstance(read(payload(created_at=f"{hour}:59:60.000Z")), Tweet)


def test_a_tweet_without_a_time_has_no_hour_whether_it_is_absent_or_null() -> None:
    assert quarantined(read(payload(created_at=None)))["reason"] == "missing_created_at"


@pytest.mark.parametrize("half", [b"\\ud83d", b"\\uDE00", b"\xed\xa0\xbd"])
@pytest.mark.parametrize("place", ["text", "name", "key", "id"])
def test_half_an_emoji_costs_one_character_and_no_tweet(half: bytes, place: str) -> None:
    whole = payload(text="tea {text}", includes={"users": [{"id": "u{id}", "{key}": "{name}"}]})
    line = json.dumps(whole).encode()
    found = one(line.replace(b"{" + place.encode() + b"}", half))
    assert isinstance(found, Tweet)
    expected = json.loads(line.replace(b"{" + place.encode() + b"}", b"\\ufffd"))
    written = orjson.loads(found.body)
    del written["ingest"]
    assert written == expected


def test_a_whole_emoji_stays_as_x_escaped_it() -> None:
    line = json.dumps(payload(text="tea \ud83d\ude00")).encode()
    found = one(line)
    assert isinstance(found, Tweet)
    assert found.body.startswith(line[:-1])


def test_html_entities_are_read_by_our_own_rules_and_stay_in_raw() -> None:
    topics = Topics(TOPICS.collection, (Topic("calls", "", {"en": ("AT&T",)}), *TOPICS.topics))
    content = payload(text="why AT&amp;T?", matching_rules=None)
    found = one(json.dumps(content).encode(), Reader(RuleSet(IDENTITY, topics)))
    assert isinstance(found, Tweet)
    assert found.topic == "calls"
    assert json.loads(found.body)["data"]["text"] == "why AT&amp;T?"


def test_the_whole_text_of_a_long_post_is_read_by_our_own_rules_and_stays_in_raw() -> None:
    note = {"text": "x" * 900 + " coffee"}
    content = payload(text="x" * 279 + "…", note_tweet=note, matching_rules=None)
    found = read(content)
    assert isinstance(found, Tweet)
    assert found.topic == "coffee"
    assert json.loads(found.body)["data"]["note_tweet"] == note


@pytest.mark.parametrize("depth", [300, 1_000, 5_000, 100_000])
@pytest.mark.parametrize("extra", [b"", b"\\ud83d"], ids=["", "half an emoji"])
@pytest.mark.parametrize("rules", [[{"tag": "tea"}], None], ids=["tagged", "untagged"])
def test_deep_json_is_a_bad_line_and_not_the_end(depth: int, extra: bytes, rules: Any) -> None:
    line = json.dumps(payload(text="tea {extra}", other="{deep}", matching_rules=rules)).encode()
    deep = b"[" * depth + b"]" * depth
    found = one(line.replace(b'"{deep}"', deep).replace(b"{extra}", extra))
    if isinstance(found, Rejected):
        assert quarantined(found)["reason"] == "malformed_json"
    else:
        assert isinstance(found, Tweet)
        assert depth < 1024
    assert isinstance(one(deep[:depth]), Rejected)


def test_xs_errors_are_no_tweets_and_carry_their_name() -> None:
    disconnect = {
        "errors": [
            {
                "title": "operational-disconnect",
                "disconnect_type": "UpstreamOperationalDisconnect",
                "detail": "This stream has been disconnected upstream for operational reasons.",
            }
        ]
    }
    assert read(disconnect) == StreamError("UpstreamOperationalDisconnect")
    assert read({"errors": [{"title": "ConnectionException"}]}) == StreamError("ConnectionException")
    assert read({"errors": ["what"]}) == StreamError("unknown")


def test_a_tweet_with_partial_errors_is_a_tweet() -> None:
    assert isinstance(read(payload(errors=[{"title": "Not Found Error"}])), Tweet)


@pytest.mark.parametrize("line", [b'{"data":{"id":"1","te', b"\xff\xfe", b"{'a': 1}", b"}"])
def test_what_is_no_json_is_quarantined_with_its_text(line: bytes) -> None:
    content = quarantined(one(line))
    assert content["reason"] == "malformed_json"
    assert content["line"] == line.decode(errors="replace")


def test_a_tweet_larger_than_firehose_takes_is_quarantined_cut() -> None:
    rejected = read(payload(text="x" * RECORD_BYTES))
    assert quarantined(rejected)["reason"] == "too_large"
    assert isinstance(rejected, Rejected)
    assert len(rejected.body) < RECORD_BYTES
    assert rejected.bought


@given(
    st.binary(max_size=300) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)
)
def test_no_line_raises_and_every_record_is_one_line_of_json(line: bytes | str) -> None:
    rejected = one(line if isinstance(line, bytes) else line.encode())
    assert quarantined(rejected)
    assert isinstance(rejected, Rejected)
    assert rejected.body.count(b"\n") == 1


shapes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


FIELDS = [
    "id",
    "note_tweet",
    "edit_history_tweet_ids",
    "text",
    "geo",
    "public_metrics",
    "referenced_tweets",
    "includes",
    "matching_rules",
    "lang",
]


@given(st.sampled_from(FIELDS), shapes)
def test_whatever_a_field_holds_what_goes_to_raw_fits_its_table(name: str, value: Any) -> None:
    found = read(payload(**{name: value}))
    assert isinstance(found, Tweet | Rejected)
    if isinstance(found, Tweet):
        line = json.loads(found.body)
        assert all(isinstance(rule["tag"], str) for rule in line["matching_rules"])
        assert all(isinstance(line["data"].get(text), str | None) for text in ("id", "text", "lang"))
        assert isinstance(line["data"].get("geo") or {}, dict)
        assert isinstance(line["data"].get("public_metrics") or {}, dict)
        assert isinstance(line.get("includes") or {}, dict)


usual = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {},
            optional={
                "id": st.text(max_size=3),
                "text": st.sampled_from(["tea", "coffee", "чай", "\U0001f600", "\ud83d tea"]) | shapes,
                "referenced_tweets": shapes,
                "created_at": st.sampled_from(
                    ["2026-11-20T05:00:00.000Z", "2026-11-20T05:00:00Z", "now", None]
                ),
                "geo": st.just({"place_id": "a"}) | shapes,
                "edit_history_tweet_ids": st.lists(st.text(max_size=3)),
                "note_tweet": st.just({"text": "coffee"}) | shapes,
            },
        )
    },
    optional={
        "includes": st.just({"users": [{"id": "1", "location": "Kyiv"}, None]}) | shapes,
        "matching_rules": st.lists(
            st.fixed_dictionaries(
                {},
                optional={"tag": st.sampled_from(["tea", "milk", 1]), "id": st.sampled_from(["7", 7, None])},
            )
            | st.none(),
            max_size=2,
        ),
        "errors": st.just([{"title": "Not Found Error"}]),
        "other": shapes,
    },
)


@given(usual | shapes, st.booleans(), st.binary(max_size=1))
def test_a_usual_tweet_is_read_as_any_other_line_is(content: Any, escaped: bool, broken: bytes) -> None:
    line = json.dumps(content, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    line = line.replace(b"Kyiv", b"Kyiv" + broken)
    assert one(line) == READER._read_thoroughly(READER._reading, line, AT)


def test_lines_that_come_together_go_on_together_and_each_is_counted() -> None:
    tea, coffee = (json.dumps(payload(matching_rules=[{"tag": tag}])).encode() for tag in ("tea", "coffee"))
    evaluated = json.dumps(payload(matching_rules=None)).encode()
    problem = b'{"errors":[{"title":"ConnectionException"}]}'
    found = READER.read([tea, b"no json", coffee, problem, evaluated, tea], AT)
    (pack,) = found.packs
    assert (pack.marks, pack.bought) == ("tqttt", 4)
    assert [json.loads(line).get("kind") for line in pack.lines.splitlines()] == [
        *(None, "quarantine", None, None, None)
    ]
    assert found.tweets == {"tea": 3, "coffee": 1}
    assert (found.evaluated, found.rejected, found.announced) == (
        1,
        ["malformed_json"],
        ["ConnectionException"],
    )
    assert READER.read([], AT).packs == []


@pytest.mark.parametrize("broken", [b"\xff", b"\xed\xa0\xbd"], ids=["no UTF-8", "half an emoji"])
def test_a_line_that_is_no_utf_8_leaves_those_that_came_with_it_as_they_are(broken: bytes) -> None:
    users = [{"id": "1", "name": "{name}"}]
    line = json.dumps(payload(text="tea “hot”", includes={"users": users}), ensure_ascii=False).encode()
    lines = [line, line.replace(b"{name}", broken), line]
    first, other, last = (READER.read([each], AT).packs[0].lines for each in lines)
    (pack,) = READER.read(lines, AT).packs
    assert pack.lines == first + other + last
    assert first == last
    assert first.startswith(line[:-1])
    assert pack.lines.decode()


@given(st.lists(st.integers(0, 400_000), max_size=8), st.integers(0, 3 * RECORD_LINES))
def test_no_pack_holds_more_than_a_record_of_firehose_may(large: list[int], small: int) -> None:
    lines = [json.dumps(payload(text="x" * size)).encode() for size in large] + [b"{}"] * small
    packs = READER.read(lines, AT).packs
    assert all(len(pack.lines) <= RECORD_BYTES for pack in packs)
    assert all(len(pack.marks) == pack.lines.count(b"\n") <= RECORD_LINES for pack in packs)
    assert kinds("".join(pack.marks for pack in packs)) == {
        kind: count for kind, count in (("tweet", len(large)), ("quarantine", small)) if count
    }
    assert sum(pack.bought for pack in packs) == len(large)


def test_a_carriage_return_between_two_tokens_makes_no_second_line_of_a_tweet() -> None:
    line = json.dumps(payload()).encode().replace(b'"matching_rules"', b'\r"matching_rules"')
    found = one(line)
    assert isinstance(found, Tweet)
    assert b"\r" not in found.body
    assert json.loads(found.body)["data"] == payload()["data"]


def test_a_record_about_the_streamer_names_session_rules_and_sample() -> None:
    pack = control("heartbeat", IDENTITY, AT, {"watermark": AT, "connected": True, "last_byte_at": None})
    assert (pack.marks, pack.bought) == ("h", 0)
    assert json.loads(pack.lines) == {
        "kind": "heartbeat",
        "at": "2026-11-20T05:00:01.234Z",
        "session": "session-1",
        "watermark": "2026-11-20T05:00:01.234Z",
        "connected": True,
        "last_byte_at": None,
        "rule_hash": "0123456789abcdef",
        "sample": 40,
    }
