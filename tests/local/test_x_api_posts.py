"""Where the stand-in's posts come from: made up by seed and time, or a file moved in time."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.x.snowflake import lowest_id, moment
from include.x.topics import Topic
from local.x_api.archive import Archive, ArchiveError
from local.x_api.post import Post
from local.x_api.query import RULE, parse
from local.x_api.synthetic import Synthetic

NOW = datetime(2026, 11, 20, 12, 34, 56, 789_000, tzinfo=UTC)
TOPICS = (
    Topic("apples", "Apples", {"en": ("apple", "apples"), "uk": ("яблуко",)}),
    Topic("pears", "Pears", {"en": ("pear",), "de": ("birne",)}),
)


def synthetic(rate: float = 2000, seed: int = 1) -> Synthetic:
    return Synthetic(TOPICS, rate, seed, clock=NOW.timestamp)


def between(corpus: Synthetic | Archive, start: datetime, end: datetime, **options: bool) -> list[Post]:
    return list(corpus.posts(lowest_id(start), lowest_id(end), **options))


def payloads(posts: Sequence[Post]) -> list[Any]:
    return [(post.data, post.includes) for post in posts]


START = NOW - timedelta(hours=3)


class TestSynthetic:
    def test_the_same_time_gives_the_same_posts_whoever_asks_and_whenever(self) -> None:
        whole = between(synthetic(), START, NOW)
        again = synthetic()
        pieces = [
            post
            for minutes in range(0, 180, 7)
            for post in between(
                again,
                START + timedelta(minutes=minutes),
                min(START + timedelta(minutes=minutes + 7), NOW),
            )
        ]
        assert payloads(pieces) == payloads(whole)

    def test_another_seed_gives_other_posts(self) -> None:
        assert {post.id for post in between(synthetic(), START, NOW)}.isdisjoint(
            post.id for post in between(synthetic(seed=2), START, NOW)
        )

    @given(st.integers(0, 10_800), st.integers(0, 10_800))
    def test_a_stretch_holds_just_the_posts_of_its_time(self, one: int, other: int) -> None:
        corpus = STEADY
        start, end = sorted(START + timedelta(seconds=offset) for offset in (one, other))
        posts = between(corpus, start, end)
        assert [post.id for post in posts] == sorted({post.id for post in posts})
        assert all(start <= moment(post.id) < end for post in posts)
        assert payloads(between(corpus, start, end, newest_first=True)) == payloads(posts[::-1])

    def test_created_at_is_the_second_of_the_id(self) -> None:
        for post in between(synthetic(), START, NOW):
            created = datetime.fromisoformat(post.data["created_at"])
            assert timedelta(0) <= moment(post.id) - created < timedelta(seconds=1)

    def test_there_is_the_variety_that_the_pipeline_must_bear(self) -> None:
        posts = between(STEADY, START, NOW)
        languages = Counter(post.data["lang"] for post in posts)
        assert len(set(languages) - {"und", "zxx"}) >= 12
        assert {"und", "zxx"} <= set(languages)
        apples, pears = parse("apple OR apples OR яблуко", RULE), parse("pear OR birne", RULE)
        about = Counter((apples.matches(post), pears.matches(post)) for post in posts)
        assert all(about[both] > 0 for both in ((True, False), (False, True), (True, True), (False, False)))
        assert about[True, True] < 0.06 * len(posts)
        assert {kind for post in posts for kind in post.references} == {"retweeted", "replied_to", "quoted"}
        for name, share in (("geo", 0.5), ("context_annotations", 0.5), ("entities", 0.9)):
            assert 0 < sum(name in post.data for post in posts) < share * len(posts)
        assert 0 < sum("location" not in post.author for post in posts) < 0.6 * len(posts)
        assert all(post.author["username"] for post in posts)

    def test_a_retweet_repeats_an_earlier_post(self) -> None:
        posts = between(STEADY, START, NOW)
        by_id = {str(post.id): post for post in between(STEADY, START - timedelta(hours=1), NOW)}
        retweets = [post for post in posts if "retweeted" in post.references]
        for retweet in retweets:
            original = by_id[retweet.references["retweeted"]]
            assert original.id < retweet.id
            prefix = f"RT @{original.author['username']}: "
            assert retweet.text.startswith(prefix)
            assert original.text.startswith(retweet.text.removeprefix(prefix).rstrip("…"))
        assert len(retweets) > 50

    def test_the_rate_is_the_mean_of_a_day_with_its_day_and_night(self) -> None:
        day = datetime(2026, 11, 19, tzinfo=UTC)
        hours = [
            len(between(synthetic(rate=300), day + timedelta(hours=hour), day + timedelta(hours=hour + 1)))
            for hour in range(24)
        ]
        assert 0.9 < sum(hours) / 24 / 300 < 1.1
        assert max(hours) > 1.5 * min(hours)

    def test_opinions_drift_from_day_to_day(self) -> None:
        good = parse('"gives me hope" OR love OR respect OR amazing OR beautiful', RULE)
        shares = []
        for days in range(7):
            start = NOW.replace(minute=0, second=0, microsecond=0) - timedelta(days=days)
            hour = between(STEADY, start, start + timedelta(minutes=34))
            posts = [post for post in hour if post.data["lang"] == "en"]
            apples = [post for post in posts if "apple" in post.comparable]
            shares.append(sum(map(good.matches, apples)) / len(apples))
        assert max(shares) - min(shares) > 0.15

    def test_nothing_is_older_than_eight_days(self) -> None:
        assert not between(STEADY, NOW - timedelta(days=30), NOW - timedelta(days=8, hours=1))


STEADY = synthetic()


def line(post_id: int, text: str = "hello", **data: Any) -> dict[str, Any]:
    created = moment(post_id).replace(microsecond=0).isoformat()
    return {
        "data": {"id": str(post_id), "author_id": "7", "text": text, "created_at": created, **data},
        "includes": {"users": [{"id": "7", "username": "seven", "name": "7"}]},
    }


OLD = datetime(2022, 5, 17, 15, 0, tzinfo=UTC)
IDS = [lowest_id(OLD + timedelta(seconds=seconds)) + 5 for seconds in (0, 60, 61.5, 600)]


def write(path: Path, *lines: object) -> Path:
    path.write_text(
        "".join((entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in lines)
    )
    return path


class TestArchive:
    def archive(self, path: Path, now: datetime = NOW) -> Archive:
        return Archive(path, path.parent, clock=now.timestamp)

    def test_the_last_tweet_falls_on_now_and_the_distances_stay(self, tmp_path: Path) -> None:
        archive = self.archive(write(tmp_path / "a.ndjson", *map(line, IDS)))
        posts = between(archive, NOW - timedelta(days=1), NOW)
        assert timedelta(0) <= NOW - moment(posts[-1].id) < timedelta(seconds=1)
        distances = [moment(post.id) - moment(posts[0].id) for post in posts]
        assert distances == [timedelta(seconds=seconds) for seconds in (0, 60, 61.5, 600)]
        assert [post.id & 0x3FFFFF for post in posts] == [5, 5, 5, 5]
        for post in posts:
            assert post.data["created_at"] == f"{moment(post.id):%Y-%m-%dT%H:%M:%S}.000Z"
            assert post.data["edit_history_tweet_ids"] == [post.data["id"]]
        assert archive.describe() == {
            "tweets": 4,
            "skipped": 0,
            "reasons": {},
            "damaged": {},
            "duplicates": 0,
            "shift_seconds": (moment(posts[0].id) - moment(IDS[0])) // timedelta(seconds=1),
            "first": moment(posts[0].id).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "last": moment(posts[-1].id).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }

    def test_a_later_start_brings_the_same_tweets_under_the_same_ids(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.ndjson", *map(line, IDS))
        first = between(self.archive(path), NOW - timedelta(days=1), NOW)
        later = self.archive(path, NOW + timedelta(hours=5))
        assert payloads(between(later, NOW - timedelta(days=1), NOW)) == payloads(first)

    def test_the_shift_belongs_to_the_content_not_to_the_name(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.ndjson", *map(line, IDS))
        first = self.archive(path).describe()
        packed = tmp_path / "b.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert self.archive(packed, NOW + timedelta(hours=5)).describe() == first
        other = write(tmp_path / "a.ndjson", *map(line, IDS[1:]))
        assert self.archive(other, NOW + timedelta(hours=5)).describe()["last"] > first["last"]

    def test_a_used_up_archive_starts_again_under_new_ids(self, tmp_path: Path) -> None:
        archive = self.archive(write(tmp_path / "a.ndjson", *(line(id_, f"t{id_}") for id_ in IDS)))
        past = between(archive, NOW - timedelta(hours=1), NOW)
        future = between(archive, NOW, NOW + timedelta(hours=1))
        assert [post.text for post in future[:4]] == [post.text for post in past]
        ids = [post.id for post in past + future]
        assert ids == sorted(set(ids))
        assert len(future) > 12
        assert payloads(
            between(archive, NOW - timedelta(hours=1), NOW + timedelta(hours=1), newest_first=True)
        ) == (payloads((past + future)[::-1]))

    def test_references_follow_the_tweets_they_point_to(self, tmp_path: Path) -> None:
        outside = IDS[0] - (1000 << 22)
        answer = line(
            IDS[1],
            conversation_id=str(IDS[0]),
            referenced_tweets=[
                {"type": "replied_to", "id": str(IDS[0])},
                {"type": "quoted", "id": str(outside)},
            ],
        )
        answer["includes"]["tweets"] = [{"id": str(IDS[0]), "text": "hello"}]
        archive = self.archive(write(tmp_path / "a.ndjson", line(IDS[0]), answer))
        first, second = between(archive, NOW - timedelta(hours=1), NOW)
        assert second.references["replied_to"] == second.data["conversation_id"] == first.data["id"]
        assert second.includes["tweets"][0]["id"] == first.data["id"]
        assert moment(first.id) - moment(int(second.references["quoted"])) == timedelta(seconds=1)

    def test_where_id_and_created_at_disagree_created_at_decides(self, tmp_path: Path) -> None:
        strange = line(IDS[1], created_at="2022-05-17T15:05:00.000Z")
        archive = self.archive(write(tmp_path / "a.ndjson", line(IDS[0]), strange, line(IDS[3])))
        posts = between(archive, NOW - timedelta(hours=1), NOW)
        assert moment(posts[1].id) - moment(posts[0].id) == timedelta(minutes=5)

    def test_pages_of_twarc_are_taken_apart_with_their_includes(self, tmp_path: Path) -> None:
        page = {
            "data": [
                {"id": str(IDS[0]), "text": "one", "author_id": "1"},
                {"id": str(IDS[1]), "text": "two", "author_id": "2", "geo": {"place_id": "p"}},
            ],
            "includes": {
                "users": [{"id": "1", "username": "a"}, {"id": "2", "username": "b"}],
                "places": [{"id": "p", "full_name": "Somewhere", "country_code": "UA"}],
            },
            "meta": {"result_count": 2},
        }
        one, two = between(self.archive(write(tmp_path / "p.jsonl", page)), NOW - timedelta(hours=1), NOW)
        assert one.includes == {"users": [{"id": "1", "username": "a"}]}
        assert two.author["username"] == "b"
        assert two.place["country_code"] == "UA"

    def test_what_is_no_payload_is_skipped_and_counted(self, tmp_path: Path) -> None:
        bad: list[object] = [
            "no json",
            '{"data": {"id": "1',
            "[]",
            {"data": {"id": str(IDS[0])}},
            {"data": {"id": "x", "text": "no id"}},
            {"data": {"id": str(IDS[2]), "text": "odd", "referenced_tweets": [{"type": "quoted"}]}},
            {"kind": "heartbeat"},
        ]
        good = [line(IDS[0] + number) for number in range(len(bad))]
        archive = self.archive(write(tmp_path / "a.ndjson", *bad, "", *good, line(IDS[0])))
        described = archive.describe()
        assert (described["tweets"], described["skipped"], described["duplicates"]) == (
            len(good),
            len(bad),
            1,
        )
        assert described["reasons"] == {
            "no id and text of a tweet": 4,
            "no JSON": 2,
            "parts unlike those of X API v2": 1,
        }

    def test_ids_stay_different_where_times_fall_together(self, tmp_path: Path) -> None:
        same = [line(IDS[0] + (number << 40), created_at="2022-05-17T15:00:00Z") for number in range(5)]
        posts = between(self.archive(write(tmp_path / "a.ndjson", *same)), NOW - timedelta(hours=1), NOW)
        assert len({post.id for post in posts}) == 5

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"\n\n", id="blank lines"),
            pytest.param(b"no json\n", id="no JSON"),
            pytest.param(gzip.compress(b"x" * 5000)[:40], id="cut gzip"),
        ],
    )
    def test_a_file_without_tweets_is_rejected(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "a.ndjson"
        path.write_bytes(content)
        with pytest.raises(ArchiveError, match=r"a\.ndjson"):
            self.archive(path)

    def test_a_missing_file_is_rejected(self, tmp_path: Path) -> None:
        with pytest.raises(ArchiveError, match="cannot be read"):
            self.archive(tmp_path / "nowhere.ndjson")
