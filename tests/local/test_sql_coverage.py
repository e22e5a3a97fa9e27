"""The measures of coverage on a small lake that was made manually, in the real engine: exact figures."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.coverage import damage, evidence, ledger
from include.coverage.judge import judge
from include.coverage.measure import Measurement, measure
from include.coverage.stretch import Stretch
from include.labeling.prepare import prepare
from include.lake import layout
from include.lake.athena import Athena, AthenaError
from include.lake.schemas import LABELED
from include.lake.storage import list_objects
from include.lake.verdict import Verdict
from include.lake.views import create_views
from include.provision.lake import ensure_database, ensure_tables, ensure_workgroup
from include.settings import Settings
from include.window import Window
from include.x.snowflake import lowest_id, milliseconds, to_milliseconds
from include.x.topics import load
from streamer import lines as stream
from tests.local.support_athena import LocalAthena

pytestmark = pytest.mark.trino

TOPICS = ("ukraine", "russia")
NINE, TEN, ELEVEN, TWELVE = (Window.parse(f"2026-11-20T{hour:02}") for hour in (9, 10, 11, 12))
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


def at(minute: float, hour: Window = TEN) -> datetime:
    return hour.start + timedelta(minutes=minute)


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tweet_id(minute: float, number: int = 0, hour: Window = TEN) -> int:
    return lowest_id(at(minute, hour)) + number


def payload(number: int, tags: Sequence[str] = ("ukraine",), source: str = "stream") -> dict[str, Any]:
    return {
        "data": {"id": str(number), "text": "text", "created_at": "2026-11-20T10:00:00.000Z"},
        "matching_rules": [{"id": "1", "tag": tag} for tag in tags],
        "ingest": {
            "received_at": iso(at(1)),
            "session": "s",
            "rule_hash": "r",
            "sample": 100,
            "source": source,
        },
    }


def heartbeat(
    minute: float,
    last_byte: float | None = None,
    connected: bool = True,
    session: str = "s",
    sample: int = 50,
) -> dict[str, Any]:
    return {
        "kind": "heartbeat",
        "at": iso(at(minute)),
        "session": session,
        "watermark": iso(at(minute)),
        "connected": connected,
        "last_byte_at": iso(at(minute if last_byte is None else last_byte)),
        "sample": sample,
    }


def session(event: str, minute: float, last_byte: float | None = None, name: str = "s") -> dict[str, Any]:
    return {
        "kind": "session",
        "at": iso(at(minute)),
        "session": name,
        "event": event,
        "last_byte_at": None if last_byte is None else iso(at(last_byte)),
    }


def beats(first: float, last: float, name: str = "s", every: float = 0.25) -> list[dict[str, Any]]:
    """Heartbeats every quarter of a minute."""
    count = round((last - first) / every) + 1
    return [heartbeat(first + number * every, session=name) for number in range(count)]


def ndjson(records: Sequence[dict[str, Any] | str]) -> bytes:
    """As Firehose may leave it: with blank lines, which count as nothing."""
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    return gzip.compress("".join(f"{line}\n\n" for line in lines).encode())


class Lake:
    """A bucket, a database and the tables, as `provision` makes them."""

    def __init__(self, s3: Any, database: Athena, settings: Settings) -> None:
        self.s3, self.database, self.settings = s3, database, settings

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.settings.bucket, Key=key, Body=body)

    def clear(self) -> None:
        for found in list_objects(self.s3, self.settings.bucket, "").objects:
            self.s3.delete_object(Bucket=self.settings.bucket, Key=found.key)

    def raw(self, topic: str, hour: Window, records: Sequence[dict[str, Any] | str], name: str = "a") -> None:
        self.put(f"{layout.raw_prefix(topic, hour)}{name}.gz", ndjson(records))

    def hear(self, records: Sequence[dict[str, Any]]) -> None:
        hours: dict[Window, list[dict[str, Any]]] = {}
        for record in records:
            moment = datetime.fromisoformat(record["at"])
            hours.setdefault(Window.containing(moment), []).append(record)
        for hour, said in hours.items():
            self.put(f"{layout.heartbeats_prefix(hour)}h.gz", ndjson(said))

    def label(self, topic: str, hour: Window, ids: Sequence[int]) -> None:
        table = pa.Table.from_pylist([{"tweet_id": number, "tag": topic} for number in ids], schema=LABELED)
        sink = io.BytesIO()
        pq.write_table(table, sink)
        self.put(layout.labeled_key(topic, hour), sink.getvalue())

    def reject(self, topic: str, hour: Window, ids: Sequence[int | None], stage: str = "transform") -> None:
        rows = [
            {"stage": stage, "reason": "missing_text", "tweet_id": None if number is None else str(number)}
            for number in ids
        ]
        self.put(layout.quarantine_key(topic, hour, stage), ndjson(rows))

    def rows(self, hours: Sequence[Window], *names: str) -> dict[str, list[dict[str, Any]]]:
        statements = evidence.signs_of_life(hours, NOW, self.settings)
        statements["measures"] = evidence.measures(hours)
        return self.database.run_all({name: statements[name] for name in names or statements})

    def measured(self, hours: Sequence[Window] = (TEN,)) -> dict[tuple[str, str], dict[str, Any]]:
        found = self.rows(hours, "measures")["measures"]
        return {(row["topic"], f"{row['dt']}T{row['hour']}"): row for row in found}

    def stretches(self) -> list[tuple[str, float, float]]:
        """States with the minutes of the tenth hour from and to which they last."""
        start = to_milliseconds(TEN.start)
        return [
            (row["state"], (row["from_ms"] - start) / 60_000, (row["to_ms"] - start) / 60_000)
            for row in self.rows([TEN], "stretches")["stretches"]
        ]


@pytest.fixture(scope="module")
def provisioned(athena: LocalAthena) -> Lake:
    settings = Settings(bucket="coverage-lake", database="coverage_lake", workgroup="coverage_lake")
    s3, glue, client = (athena.aws.client(service) for service in ("s3", "glue", "athena"))
    s3.create_bucket(Bucket=settings.bucket)
    ensure_database(glue, settings)
    ensure_workgroup(client, settings)
    database = Athena(client, settings)
    ensure_tables(database, glue, settings, load(settings.topics_file))
    create_views(database)
    return Lake(s3, database, settings)


@pytest.fixture
def lake(provisioned: Lake) -> Lake:
    """The lake with nothing in it."""
    provisioned.clear()
    return provisioned


def test_an_empty_lake_has_no_measures_and_was_silent_all_the_time(lake: Lake) -> None:
    found = lake.rows([TEN, ELEVEN])
    assert found["measures"] == []
    assert found["heartbeats"] == []
    assert [(row["state"], row["from_ms"], row["to_ms"]) for row in found["stretches"]] == [
        ("silent", to_milliseconds(NINE.start), to_milliseconds(NOW))
    ]


def test_every_count_is_exact(lake: Lake) -> None:
    one, two, three, four, five = (tweet_id(minute) for minute in (1, 2.5, 4, 40, 59))
    broken = ["{broken", "", json.dumps({"data": {"text": "no id"}}), json.dumps({"data": {"id": "1e3"}})]
    stream: list[dict[str, Any] | str] = [
        payload(one),
        payload(two),
        payload(two),
        payload(three),
        payload(four),
        *broken,
    ]
    lake.raw("ukraine", TEN, stream)
    lake.raw("ukraine", TEN, [payload(four, source="search"), payload(five, source="search")], "recovered")
    lake.raw("russia", TEN, [payload(one, tags=("russia",))])
    lake.raw("ukraine", ELEVEN, [payload(tweet_id(5, hour=ELEVEN))])
    lake.label("ukraine", TEN, [one, two])
    lake.label("russia", TEN, [])
    lake.reject("ukraine", TEN, [two, three, None])
    lake.reject("ukraine", TEN, [None], stage="streamer")
    measured = lake.measured([TEN])
    assert measured["ukraine", "2026-11-20T10"] == {
        "topic": "ukraine",
        "dt": "2026-11-20",
        "hour": "10",
        "raw_ids": 5,
        "labeled_ids": 2,
        "missing_ids": 2,
        "quarantined": 1,
        "duplicates": 2,
        "lines_without_id": 3,
        "overlap": 1,
        "named": None,
        "recovered": 1,
        "first_ms": to_milliseconds(at(1)),
        "last_ms": to_milliseconds(at(59)),
        "longest_silence_ms": 36 * 60_000,
    }
    assert measured["russia", "2026-11-20T10"]["missing_ids"] == 1
    assert measured["russia", "2026-11-20T10"]["overlap"] == 1
    assert measured.keys() == {("ukraine", "2026-11-20T10"), ("russia", "2026-11-20T10")}


def by_a_loop(
    raw: dict[tuple[str, Window], list[dict[str, Any]]], labeled: set[tuple[str, int]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """What `measures.sql` counts of raw and labeled, line by line."""
    found = {}
    ids = {place: {int(each["data"]["id"]) for each in records} for place, records in raw.items()}
    for (topic, hour), records in raw.items():
        own = ids[topic, hour]
        elsewhere = set().union(*(ids[place] for place in raw if place[0] != topic and place[1] == hour))
        tags: dict[int, set[str]] = {number: set() for number in own}
        sources: dict[int, set[str]] = {number: set() for number in own}
        for each in records:
            tags[int(each["data"]["id"])] |= {rule["tag"] for rule in each["matching_rules"]}
            sources[int(each["data"]["id"])].add(each["ingest"]["source"])
        several = {number for number in own if len(tags[number]) > 1}
        named = Counter(",".join(sorted(tags[number])) for number in several - elsewhere)
        moments = sorted(milliseconds(number) for number in own)
        before = [to_milliseconds(hour.start), *moments]
        found[topic, hour.label] = {
            "topic": topic,
            "dt": hour.date,
            "hour": hour.hour,
            "raw_ids": len(own),
            "labeled_ids": sum((topic, number) in labeled for number in own),
            "missing_ids": sum((topic, number) not in labeled for number in own),
            "quarantined": 0,
            "duplicates": len(records) - len(own),
            "lines_without_id": 0,
            "overlap": len(own & elsewhere | several),
            "named": dict(named) or None,
            "recovered": sum(of_one == {"search"} for of_one in sources.values()),
            "first_ms": moments[0],
            "last_ms": moments[-1],
            "longest_silence_ms": max(at - last for at, last in zip(moments, before, strict=False)),
        }
    return found


def test_what_a_loop_over_the_lines_counts_is_measured(lake: Lake) -> None:
    chance = random.Random(2)
    raw: dict[tuple[str, Window], list[dict[str, Any]]] = {}
    labeled = set()
    for hour in (NINE, TEN):
        posted = [tweet_id(chance.uniform(0, 60), chance.randrange(4), hour) for _ in range(200)]
        for topic in TOPICS:
            of_topic = [
                payload(number, chance.choice([(topic,), (topic,), TOPICS, (topic, topic, "other")]), source)
                for number in chance.choices(posted, k=200)
                for source in chance.choice([("stream",), ("search",), ("stream", "search")])
            ]
            raw[topic, hour] = of_topic
            for name, part in (("a", of_topic[::2]), ("b", of_topic[1::2])):
                lake.raw(topic, hour, part, name)
            ids = [int(each["data"]["id"]) for each in of_topic if chance.random() < 0.5]
            lake.label(topic, hour, ids)
            labeled |= {(topic, number) for number in ids}
    found = lake.measured([NINE, TEN])
    for row in found.values():
        row["named"] = row["named"] and json.loads(row["named"])
    assert found == by_a_loop(raw, labeled)


def sent(number: int, tags: Sequence[str] = ("ukraine",), source: str = "stream") -> str:
    """A line as the streamer and search write it."""
    return json.dumps(payload(number, tags, source), separators=(",", ":"))


def reordered(number: int) -> str:
    """A line whose hashtags come after its rules, and whose last field is not X's to end with."""
    usual = payload(number)
    hashtags = [{"tag": "one"}, {"tag": "two"}]
    return json.dumps({**usual, "data": {**usual["data"], "entities": {"hashtags": hashtags}}})


USUAL = sent(100)
STRANGE_IDS = (
    *(
        '"007"',
        '"+7"',
        '"-7"',
        '" 7"',
        '"7 "',
        '"7\\n"',
        '"1e3"',
        '""',
        '"\u0663"',
        '"0x7"',
        '"\\u0037\\u0031"',
    ),
    *(f'"{2**63 - 1}"', f'"{2**63}"', '"99999999999999999999"', '"00000000000000000072"'),
    *("73", "7.0", "-7", "true", "null", '{"a":1}', '["7"]'),
)
STRANGE = (
    *(USUAL.replace('"100"', each) for each in STRANGE_IDS),
    *(sent(201, TOPICS), sent(202, ("ukraine", "ukraine")), sent(203, ("ukraine", "third", "russia"))),
    *(sent(204, source="search"), sent(205, TOPICS, "search"), sent(206, source="search"), sent(206)),
    *(json.dumps(payload(number, TOPICS, source)) for number, source in ((207, "search"), (208, "stream"))),
    sent(209, source="search").replace('"search"', r'"se\u0061rch"'),
    sent(210, source="search").replace('"source"', r'"sourc\u0065"'),
    sent(211, TOPICS).replace('"tag"', r'"\u0074ag"'),
    sent(212, TOPICS).replace('"matching_rules"', r'"m\u0061tching_rules"'),
    sent(213, source="search").replace('"text":"text"', r'"text":"a \",\"source\":\"stream\"}}"'),
    sent(214).replace('"text":"text"', r'"text":"\"matching_rules\" \"tag\" \"tag\" \"search\" \u00e9"'),
    *(reordered(215), json.dumps({"x": {"source": "search"}, **payload(216)}), sent(217) + " \t"),
    json.dumps(dict(reversed(payload(218, TOPICS, "search").items()))),
    '{"data":{"id":"219"}}',
    # Torn and cut lines, of which some end in a brace.
    *(USUAL[:-1], USUAL[:-2], USUAL[:40], USUAL[: USUAL.index("}") + 1], '{"data":{"id":"301"}', USUAL[1:]),
    *(USUAL[:-2] + sent(302), USUAL[:40] + sent(303), USUAL[: USUAL.index("}")] + sent(304)),
    *(USUAL + " and more", USUAL + "\x01 and more", USUAL.replace("text", "te\x01xt"), "\x01" + USUAL),
    *("{}", "[]", "null", '"100"', "100", r"\N", "\\", "\x01", "\x00", ",", "10", "{", "}", "\ufeff{}"),
)
"""Lines of which a shortcut may think what a parser does not."""


def read_by_python(line: str) -> tuple[int | None, bool, list[str]]:
    """The tweet that a line names, whether search has brought it, and the topics of its rules."""
    try:
        found = json.loads(line)
    except ValueError:
        return None, False, []
    number = found["data"].get("id") if isinstance(found, dict) and "data" in found else None
    text = str(number) if isinstance(number, str) or type(number) is int else ""
    if not re.fullmatch("[0-9]{1,19}\n?", text) or int(text) >= 2**63:
        return None, False, []
    tags = dict.fromkeys(rule["tag"] for rule in found.get("matching_rules", []))
    return int(text), found.get("ingest", {}).get("source") == "search", list(tags)


def test_strange_lines_are_read_as_python_reads_them(lake: Lake) -> None:
    invalid = sent(401).encode().replace(b"text", b"\xff\xfet\xe2\x82")
    lines = [*(line.encode() for line in STRANGE), invalid]
    lake.put(f"{layout.raw_prefix('ukraine', TEN)}a.gz", gzip.compress(b"\n".join(lines)))
    found = lake.database.run(
        "SELECT lower(to_hex(md5(to_utf8(line)))) AS digest, tweet_id, source, array_join(tags, ',') AS tags"
        " FROM raw_tweets WHERE dt = '2026-11-20' AND hour = '10'"
    )
    read = [(line, *read_by_python(line.decode(errors="replace"))) for line in lines]
    assert Counter((row["digest"], row["tweet_id"]) for row in found) == Counter(
        (hashlib.md5(line, usedforsecurity=False).hexdigest(), number) for line, number, _, _ in read
    )
    known = [each for each in read if each[1] is not None]
    streamed = {number for _, number, searched, _ in known if not searched}
    ids = {number for _, number, _, _ in known}
    (row,) = lake.measured().values()
    assert row["raw_ids"] == len(ids)
    assert row["duplicates"] == len(known) - len(ids)
    assert row["lines_without_id"] == len(read) - len(known)
    assert row["recovered"] == len(ids - streamed)
    assert json.loads(row["named"]) == Counter(
        ",".join(sorted(tags)) for _, _, _, tags in known if len(tags) > 1
    )


@pytest.mark.parametrize("table", ["raw", "quarantine", "heartbeats"])
def test_a_line_is_taken_whole_whatever_it_holds(lake: Lake, table: str) -> None:
    every_byte = bytes(byte for byte in range(256) if byte not in b"\n\r")
    lines = [
        every_byte,
        *(every_byte[at:] + every_byte[:at] for at in range(len(every_byte))),
        b"\\N",
        b"",
        b"10",
    ]
    topic = "_all" if table == "heartbeats" else "ukraine"
    lake.put(f"{table}/topic={topic}/dt=2026-11-20/hour=10/a.gz", gzip.compress(b"\n".join([*lines, b"end"])))
    found = lake.database.run(
        f"SELECT lower(to_hex(md5(to_utf8(line)))) AS digest FROM {table}"
        " WHERE dt = '2026-11-20' AND hour = '10'"
    )
    assert Counter(row["digest"] for row in found) == Counter(
        hashlib.md5(line, usedforsecurity=False).hexdigest() for line in [*lines, b"end"]
    )


def test_a_tweet_of_two_topics_that_the_streamer_kept_out_of_raw_overlaps(lake: Lake) -> None:
    lake.raw("ukraine", TEN, [payload(tweet_id(1))])
    rows = [
        {"stage": "streamer", "reason": reason, "tweet_id": number}
        for reason, number in (("overlap", "7"), ("overlap", "7"), ("overlap", "8"), ("too_large", "9"))
    ]
    lake.put(f"{layout.quarantine_prefix('ukraine', TEN)}streamed.gz", ndjson(rows))
    measured = lake.measured()["ukraine", "2026-11-20T10"]
    assert (measured["overlap"], measured["raw_ids"], measured["quarantined"]) == (2, 1, 0)


def test_a_tweet_whose_rules_name_two_topics_overlaps(lake: Lake) -> None:
    lake.raw(
        "ukraine", TEN, [payload(tweet_id(1), tags=TOPICS), payload(tweet_id(2), tags=("ukraine", "ukraine"))]
    )
    lake.raw("russia", TEN, [payload(tweet_id(3), tags=("russia",))])
    lake.hear([session("connect", -90), *beats(-89.75, 149)])
    rows = judged(lake, [TEN])
    assert [rows[topic, "2026-11-20T10"].measures.overlap for topic in TOPICS] == [1, 1]


def test_an_hour_of_which_the_streamer_kept_every_tweet_out_of_raw_overlaps_in_both_topics(
    lake: Lake,
) -> None:
    identity = stream.Identity("s", "r", 100)
    reader = stream.Reader(stream.RuleSet(identity, load(lake.settings.topics_file)))
    tweet = payload(tweet_id(1), tags=TOPICS)
    del tweet["ingest"]
    (rejected,) = reader.read([json.dumps(tweet).encode()], at(1)).packs
    assert rejected.marks == "q"
    lake.put(f"{layout.quarantine_prefix('ukraine', TEN)}streamed.gz", gzip.compress(rejected.lines))
    lake.hear([session("connect", -90), *beats(-89.75, 149)])
    rows = judged(lake, [TEN])
    for topic in TOPICS:
        assert rows[topic, "2026-11-20T10"].verdict is Verdict.OVERLAP
        assert rows[topic, "2026-11-20T10"].alarm == "1 tweets match two topics: the rules are not exclusive"


def test_the_view_of_raw_gives_whole_texts_and_the_ids_of_all_versions(lake: Lake) -> None:
    records = [payload(tweet_id(minute)) for minute in range(1, 6)]
    whole = "AT&amp;T " + "long " * 178 + "and only the end decides"
    records[0]["data"] |= {"text": whole[:279] + "…", "note_tweet": {"text": whole}}
    records[1]["data"] |= {"text": "a &lt; b", "edit_history_tweet_ids": [str(tweet_id(1)), str(tweet_id(2))]}
    records[2]["data"] |= {"text": "empty note", "note_tweet": {"text": ""}, "edit_history_tweet_ids": ["x"]}
    records[3]["data"] |= {"text": "null note", "note_tweet": None, "edit_history_tweet_ids": None}
    records[4]["data"] |= {"text": "strange note", "note_tweet": [1], "edit_history_tweet_ids": "7"}
    lake.raw("ukraine", TEN, records)
    rows = lake.database.run(
        "SELECT text, edit_history_tweet_ids AS versions FROM raw_tweets WHERE dt = '2026-11-20'"
        " AND hour = '10' ORDER BY tweet_id"
    )
    assert [row["text"] for row in rows] == [whole, "a &lt; b", "empty note", "null note", "strange note"]
    edited = f"[{tweet_id(1)}, {tweet_id(2)}]"
    assert [row["versions"] for row in rows] == ["[]", edited, "[]", "[]", "[]"]


def test_an_hour_of_nothing_but_broken_lines_is_measured(lake: Lake) -> None:
    lake.raw("ukraine", TEN, ["{broken"])
    found = lake.measured()["ukraine", "2026-11-20T10"]
    assert (found["raw_ids"], found["lines_without_id"], found["first_ms"]) == (0, 1, None)


def test_hours_across_midnight_are_measured_in_one_go(lake: Lake) -> None:
    last, first = Window.parse("2026-11-19T23"), Window.parse("2026-11-20T00")
    for hour in (last, first):
        lake.raw("ukraine", hour, [payload(tweet_id(1, hour=hour))])
        lake.label("ukraine", hour, [tweet_id(1, hour=hour)])
    measured = lake.measured([last, first])
    assert [row["labeled_ids"] for row in measured.values()] == [1, 1]


def test_heartbeats_of_a_connected_streamer_prove_that_it_was_alive(lake: Lake) -> None:
    lake.hear([session("start", 10), session("connect", 10.5), *beats(10.75, 40)])
    assert lake.stretches() == [("silent", -60, 10.5), ("alive", 10.5, 40), ("silent", 40, 150)]


def test_a_killed_streamer_leaves_an_outage_up_to_its_next_connection(lake: Lake) -> None:
    lake.hear(
        [
            session("connect", 0),
            *beats(0.25, 20),
            session("connect", 22, name="t"),
            *beats(22.25, 30, name="t"),
        ]
    )
    assert lake.stretches()[1:4] == [("alive", 0, 20), ("silent", 20, 22), ("alive", 22, 30)]


def test_a_short_reconnection_is_no_outage_but_not_alive_either(lake: Lake) -> None:
    lake.hear(
        [
            session("connect", 0),
            *beats(0.25, 5),
            session("disconnect", 5.3, last_byte=5.2),
            heartbeat(5.5, last_byte=5.2, connected=False),
            session("connect", 5.7),
            *beats(6, 10),
        ]
    )
    assert lake.stretches() == [
        ("silent", -60, 0),
        ("alive", 0, 5.2),
        ("alive", 5.7, 10),
        ("silent", 10, 150),
    ]


def test_a_streamer_that_is_connected_to_a_silent_stream_is_not_alive(lake: Lake) -> None:
    lake.hear(
        [
            session("connect", 0),
            *beats(0.25, 5),
            *(heartbeat(5 + number / 4, last_byte=5) for number in range(1, 10)),
            *beats(7.5, 10),
        ]
    )
    assert lake.stretches()[1:4] == [("alive", 0, 5), ("silent", 5, 7.5), ("alive", 7.5, 10)]


def test_streamers_beside_each_other_add_up(lake: Lake) -> None:
    lake.hear(
        [
            session("connect", 0),
            *beats(0.25, 5),
            session("connect", 4, name="t"),
            *beats(4.25, 9, name="t"),
            session("connect", 8.5, name="u"),
            *beats(8.75, 12, name="u"),
        ]
    )
    assert [found for found in lake.stretches() if found[0] == "alive"] == [("alive", 0, 12)]


def test_what_was_said_is_counted_by_hour_with_watermark_and_sample(lake: Lake) -> None:
    lake.hear([session("connect", 1), heartbeat(2, sample=80), heartbeat(59, sample=40), heartbeat(61)])
    found = lake.rows([TEN], "heartbeats")["heartbeats"]
    assert [(row["hour"], row["heartbeats"], row["watermark_ms"], row["sample"]) for row in found] == [
        ("10", 3, to_milliseconds(at(59)), 40),
        ("11", 1, to_milliseconds(at(61)), 50),
    ]


def under_way(lake: Lake) -> timedelta:
    """How long a tweet may have been under way when an outage began."""
    return timedelta(seconds=lake.settings.lateness_seconds)


def judged(lake: Lake, hours: Sequence[Window], active: Sequence[Window] = ()) -> dict[tuple[str, str], Any]:
    settings = lake.settings
    inputs = evidence.list_inputs(lake.s3, settings.bucket, TOPICS, hours)
    found = evidence.gather(
        lake.rows(hours), inputs, inputs, {}, active, NINE.start - timedelta(days=1), NOW, settings
    )
    rows = [ledger.row(one, judge(one), inputs[one.topic, one.window], None, NOW) for one in found]
    return {(row.topic, row.window.label): row for row in rows}


def test_the_whole_way_from_objects_to_verdicts(lake: Lake) -> None:
    lake.hear([session("connect", -10), *beats(-9.75, 90), session("connect", 92), *beats(92.25, 149)])
    seen = [tweet_id(minute) for minute in (1, 30)]
    lake.raw("ukraine", TEN, [payload(number) for number in seen])
    lake.label("ukraine", TEN, seen)
    lake.raw("russia", TEN, [payload(tweet_id(3), tags=("russia",))])
    rows = judged(lake, [NINE, TEN, ELEVEN, TWELVE])
    verdicts = {key: row.verdict for key, row in rows.items()}
    assert verdicts == {
        ("ukraine", "2026-11-20T09"): Verdict.OUTAGE,
        ("ukraine", "2026-11-20T10"): Verdict.COMPLETE,
        ("ukraine", "2026-11-20T11"): Verdict.OUTAGE,
        ("ukraine", "2026-11-20T12"): Verdict.IN_PROGRESS,
        ("russia", "2026-11-20T09"): Verdict.OUTAGE,
        ("russia", "2026-11-20T10"): Verdict.UNLABELED,
        ("russia", "2026-11-20T11"): Verdict.OUTAGE,
        ("russia", "2026-11-20T12"): Verdict.IN_PROGRESS,
    }
    assert rows["ukraine", "2026-11-20T10"].alive_s == 3600
    assert [gap.stretch for gap in rows["ukraine", "2026-11-20T11"].gaps] == [
        Stretch(at(90) - under_way(lake), at(92))
    ]
    assert [gap.stretch for gap in rows["russia", "2026-11-20T09"].gaps] == [Stretch(NINE.start, at(-10))]
    assert rows["ukraine", "2026-11-20T12"].judged_until == at(149) - timedelta(
        seconds=lake.settings.delivery_margin_seconds
    )


def test_an_outage_over_the_end_of_an_hour_is_one_of_both_hours(lake: Lake) -> None:
    lake.hear([session("connect", -20), *beats(-19.75, 59.5), session("connect", 60.6), *beats(60.85, 140)])
    rows = judged(lake, [TEN, ELEVEN])
    assert [gap.stretch for gap in rows["ukraine", "2026-11-20T10"].gaps] == [
        Stretch(at(59.5) - under_way(lake), at(60))
    ]
    assert [gap.stretch for gap in rows["ukraine", "2026-11-20T11"].gaps] == [Stretch(at(60), at(60.6))]


def test_a_stretch_that_was_searched_in_vain_is_filled(lake: Lake) -> None:
    lake.hear([session("connect", 5), *beats(5.25, 90)])
    lake.put(layout.recovered_key("ukraine", TEN, TEN.start, at(5)), ndjson([]))
    rows = judged(lake, [TEN])
    assert rows["ukraine", "2026-11-20T10"].verdict is Verdict.QUIET
    assert rows["ukraine", "2026-11-20T10"].gap_state == "filled"
    assert rows["russia", "2026-11-20T10"].verdict is Verdict.OUTAGE


def test_hours_of_which_nothing_was_heard_were_never_collected(lake: Lake) -> None:
    rows = judged(lake, [TEN, ELEVEN])
    assert {row.verdict for row in rows.values()} == {Verdict.NEVER_COLLECTED}


def test_the_ledger_is_a_table(lake: Lake) -> None:
    rows = judged(lake, [TEN])
    ledger.write(lake.s3, lake.settings.bucket, list(rows.values()))
    found = lake.database.run(
        "SELECT topic, hour, verdict, gap_state, gap.state, gap.gap_from, reruns FROM coverage"
        " CROSS JOIN UNNEST(gaps) AS gap WHERE dt = '2026-11-20' ORDER BY topic"
    )
    assert [tuple(row.values()) for row in found] == [
        (topic, "2026-11-20T10", "never collected", "open", "open", "2026-11-20 10:00:00.000", 0)
        for topic in ("russia", "ukraine")
    ]


NASTY = (
    b'{"data":"x"}',
    b'{"data":{"id":7}}',
    b'{"data":{"id":null}}',
    b'{"data":{"id":"8"',
    b'{"data":{"id":"9"}} and more',
    b'{"data":[1],"matching_rules":{"tag":"x"},"ingest":7}',
    b'{"data":{"id":"10"},"matching_rules":[1,null,{"tag":null}],"ingest":{"sample":"x"}}',
    b"null",
    b"[]",
    b"\x00\xff\xfe\x1f\x8b",
    b"[" * 100_000,
    b'{"data":{"id":"11"},"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    b'{"data":{"id":"12","text":"' + b"x" * 3_000_000 + b'"}}',
)
"""Lines that a reader with types, one that recurses, or one that stops early takes badly."""


def mutated(line: bytes, chance: random.Random) -> bytes:
    """The line with some bytes changed, cut out or repeated; never two lines."""
    body = bytearray(line)
    for _ in range(chance.randint(1, 4)):
        place, length = chance.randrange(len(body)), chance.choice((1, 1, 1, 2, 20))
        part = bytes(chance.randrange(256) for _ in range(length))
        body[place : place + length] = chance.choice((b"", part, bytes(body[place : place + length]) * 2))
        body = body or bytearray(b"{")
    return bytes(body).translate(None, b"\n\r")


def look(lake: Lake) -> Measurement:
    """What coverage makes of the hours before the open one."""
    topics = load(lake.settings.topics_file)
    hours = [NINE, TEN, ELEVEN]
    return measure(lake.database, lake.s3, lake.settings, topics, hours, (), NOW)


@pytest.mark.usefixtures("read_once")
def test_10_000_mutated_lines_and_damaged_objects_keep_no_other_hour_from_being_judged(lake: Lake) -> None:
    lake.hear([session("connect", -90), *beats(-89.75, 149)])
    for hour in (NINE, TEN, ELEVEN):
        for topic in TOPICS:
            ids = [tweet_id(minute, hour=hour) for minute in range(1, 60)]
            lake.raw(topic, hour, [payload(number + (topic == "russia"), tags=(topic,)) for number in ids])
            lake.label(topic, hour, [number + (topic == "russia") for number in ids])
    sound = {row.key: row for row in look(lake).rows}
    assert {row.verdict for row in sound.values()} == {Verdict.COMPLETE}

    chance = random.Random(1)
    line = json.dumps(payload(tweet_id(30, 5))).encode()
    lines = [*NASTY, *(mutated(line, chance) for _ in range(10_000))]
    lake.put(f"{layout.raw_prefix('ukraine', NINE)}mutated.gz", gzip.compress(b"\n".join(lines)))
    packed = ndjson([payload(tweet_id(1, number, ELEVEN)) for number in range(5_000)])
    cut = f"{layout.raw_prefix('ukraine', ELEVEN)}cut.gz"
    damaged = {
        cut: packed[: len(packed) // 2],
        f"{layout.raw_prefix('ukraine', ELEVEN)}short.gz": packed[:-6],
        f"{layout.raw_prefix('ukraine', ELEVEN)}text.gz": b"no gzip at all",
        f"{layout.quarantine_prefix('russia', ELEVEN)}cut.gz": packed[:100],
        f"{layout.heartbeats_prefix(TEN)}cut.gz": packed[:100],
        layout.labeled_key("russia", ELEVEN): b"no Parquet at all",
    }
    for key, body in damaged.items():
        lake.put(key, body)

    found = look(lake)
    assert set(found.damaged) == damaged.keys()
    rows = {row.key: row for row in found.rows}
    unreadable = {("ukraine", ELEVEN), ("russia", ELEVEN), ("ukraine", TEN), ("russia", TEN)}
    assert {key for key, row in rows.items() if row.verdict is Verdict.UNREADABLE} == unreadable
    assert cut in rows["ukraine", ELEVEN].evidence
    assert cut in (rows["ukraine", ELEVEN].alarm or "")
    assert not any(row.gaps for row in rows.values()), "what cannot be read is no reason to buy posts"
    assert rows["russia", NINE] == sound["russia", NINE]
    counted = prepare(lake.s3, lake.settings, TOPICS, NINE, b"key").raw
    # A reader of bytes also rejects a line that is no UTF-8.
    assert rows["ukraine", NINE].measures.raw_ids >= counted["ukraine"] > 59

    packs = {key for key in damaged if key.endswith(".gz")}
    assert set(damage.set_aside(lake.s3, lake.settings.bucket, found.damaged)) == packs
    assert damage.set_aside(lake.s3, lake.settings.bucket, found.damaged) == [], "twice changes nothing"
    for view in ("raw_tweets", "quarantined_lines", "heartbeat_records"):
        assert lake.database.run(f"SELECT count(*) AS lines FROM {view} WHERE dt = '2026-11-20'")
    again = look(lake)
    assert again.damaged == (layout.labeled_key("russia", ELEVEN),)
    rows = {row.key: row for row in again.rows}
    assert {key for key, row in rows.items() if row.verdict is Verdict.UNREADABLE} == unreadable
    assert rows["ukraine", ELEVEN].measures.raw_ids > 1_000, "what can be unpacked is read"

    for found_aside in list_objects(lake.s3, lake.settings.bucket, layout.DAMAGED_PREFIX).objects:
        lake.s3.delete_object(Bucket=lake.settings.bucket, Key=found_aside.key)
    lake.label("russia", ELEVEN, [])
    accepted = {row.key: row.verdict for row in look(lake).rows}
    assert accepted["russia", ELEVEN] is Verdict.LATE or accepted["russia", ELEVEN] is Verdict.UNLABELED
    assert accepted["russia", TEN] is Verdict.COMPLETE
    assert Verdict.UNREADABLE not in accepted.values()


def test_a_statement_that_fails_for_another_reason_blames_no_object(lake: Lake) -> None:
    lake.raw("ukraine", TEN, [payload(tweet_id(1))])
    asked: list[Any] = []
    with pytest.raises(AthenaError, match="COLUMN_NOT_FOUND"):
        damage.run_all(
            lake.database,
            lambda unreadable: {"wrong": "SELECT nothing FROM raw_tweets WHERE dt = '2026-11-20'"},
            lake.s3,
            lake.settings.bucket,
            lambda: asked,
        )
