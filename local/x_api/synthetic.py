"""Synthetic posts as a function of seed, rate, topics and time: the same hour holds the same posts for ever.

Past and future are one: what a search over an hour finds is what the stream delivered in it. Languages have
their own day and night, and opinions on a topic drift over days, differently from language to language.
"""

from __future__ import annotations

import html
import math
import random
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate

from include.window import Window
from include.x.snowflake import LOW_BITS, lowest_id, moment
from include.x.topics import Topic
from local.x_api.post import Json, Post
from local.x_api.sentences import EMOJI, LANGUAGES, WORDLESS, Language

REACH = timedelta(days=8)
"""How far back from now there are posts: a day more than recent search reaches."""

_DAY_AND_NIGHT = 0.6
_ON_TOPIC = 0.55
_TWO_TOPICS = 0.03
_WORDLESS = 0.04
_RETWEETS = 0.12
_REPLIES = 0.15
_QUOTES = 0.03
_GEO = 0.12
_AUTHORS = 6000
_POSTS_KEPT = 20_000
"""About as many posts are kept in memory, in whole slices, two slices at least."""

_POSTS_PER_SLICE = 5_000
"""Posts are made by the slice, an hour or a part of it: at high rates an hour would take too long."""
_SLICES = tuple(count for count in range(1, 3601) if 3600 % count == 0)
_HANDLES = (
    "blue",
    "river",
    "north",
    "sunny",
    "quiet",
    "wild",
    "old",
    "green",
    "city",
    "moon",
    "paper",
    "stone",
)


_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


class Synthetic:
    """A `Corpus` of made-up posts: ``rate`` an hour in the mean, about the ``topics`` and all else."""

    def __init__(
        self, topics: Sequence[Topic], rate: float, seed: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._topics = tuple(topics)
        self._rate = rate
        self._seed = seed
        self._clock = clock
        self._authors = _Authors(seed)
        count = next((count for count in _SLICES if rate / count <= _POSTS_PER_SLICE), _SLICES[-1])
        self._length = timedelta(hours=1) / count
        kept = max(2, min(12, int(_POSTS_KEPT / max(rate / count, 1))))
        self._slice = lru_cache(maxsize=kept)(self._make_slice)

    def posts(self, lowest: int, below: int, newest_first: bool = False) -> Iterator[Post]:
        """The posts whose ids lie in ``[lowest, below)``, none older than `REACH`."""
        oldest = datetime.fromtimestamp(self._clock(), UTC) - REACH
        lowest = max(lowest, lowest_id(Window.containing(oldest).start))
        if below <= lowest:
            return
        first, last = (self._slice_of(moment(post_id)) for post_id in (lowest, below - 1))
        numbers = range(first, last + 1)
        for number in reversed(numbers) if newest_first else numbers:
            ids, posts = self._slice(number)
            chosen = posts[bisect_left(ids, lowest) : bisect_left(ids, below)]
            yield from reversed(chosen) if newest_first else chosen

    def _slice_of(self, at: datetime) -> int:
        """The number of the slice that holds a moment."""
        return int((at - _UNIX) // self._length)

    def _make_slice(self, number: int) -> tuple[list[int], list[Post]]:
        start = _UNIX + number * self._length
        window = Window.containing(start)
        label = window.label if start == window.start else f"{start:%Y-%m-%dT%H:%M:%S}"
        dice = random.Random(f"{self._seed}/{label}")  # noqa: S311 - made-up posts, no secret
        hour = window.start.hour + 0.5
        weights = [
            language.share * (1 + _DAY_AND_NIGHT * math.cos((hour - language.peak_hour) / 24 * math.tau))
            for language in LANGUAGES
        ]
        share = self._length / timedelta(hours=1)
        mean = self._rate * share * sum(weights) / sum(language.share for language in LANGUAGES)
        base = lowest_id(start)
        milliseconds = self._length // timedelta(milliseconds=1)
        ids = sorted(
            {
                base + (dice.randrange(milliseconds) << LOW_BITS) + dice.getrandbits(LOW_BITS)
                for _ in range(_poisson(dice, mean))
            }
        )
        day = window.start.timestamp() / 86_400
        hand = _Hand(dice, self._topics, self._authors, list(accumulate(weights)), day, self._seed)
        date = window.start.strftime("%Y-%m-%dT%H:")
        whole_hour = lowest_id(window.start)
        posts: list[Post] = []
        for post_id in ids:
            seconds = ((post_id - whole_hour) >> LOW_BITS) // 1000
            created_at = f"{date}{seconds // 60:02}:{seconds % 60:02}.000Z"
            posts.append(hand.write(post_id, created_at, posts))
        return ids, posts


def _poisson(dice: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(dice.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), dice.random(), 0
    while product > limit:
        product *= dice.random()
        count += 1
    return count


@dataclass
class _Hand:
    """Writes one slice's posts, one after the other, from one sequence of chances."""

    dice: random.Random
    topics: tuple[Topic, ...]
    authors: _Authors
    weights: list[float]
    day: float
    seed: int

    def __post_init__(self) -> None:
        self._leanings = {
            (topic.name, language.code): self._leaning(topic.name, language.code)
            for topic in self.topics
            for language in LANGUAGES
        }
        # Which topic is talked about most changes over days too.
        self._volumes = list(
            accumulate(
                1 + 0.4 * math.sin(math.tau * (self.day / 3.7 + _phase(self.seed, "volume", topic.name)))
                for topic in self.topics
            )
        )

    def _leaning(self, topic: str, language: str) -> float:
        """From -1 (all against) to 1 (all for) at this hour."""
        slow = math.sin(math.tau * (self.day / 5.3 + _phase(self.seed, "slow", topic)))
        fast = math.sin(math.tau * (self.day / 1.1 + _phase(self.seed, "fast", topic)))
        return 0.45 * slow + 0.2 * fast + 0.5 * (_phase(self.seed, topic, language) - 0.5)

    def write(self, post_id: int, created_at: str, earlier: Sequence[Post]) -> Post:
        """The post of that id; a retweet, a reply or a quote is of one of the ``earlier``."""
        dice = self.dice
        kind = dice.random()
        if earlier and kind < _RETWEETS + _REPLIES + _QUOTES:
            original = earlier[int(len(earlier) * dice.random())]
            if "retweeted" not in original.references:
                if kind < _RETWEETS:
                    return self._retweet(post_id, created_at, original)
                return self._answer(
                    post_id, created_at, original, "replied_to" if kind < _RETWEETS + _REPLIES else "quoted"
                )
        language = dice.choices(LANGUAGES, cum_weights=self.weights)[0]
        author = self.authors.one(language, dice)
        text, lang, hashtag, topics = self._text(language)
        data = _data(post_id, created_at, author, text, lang, self._metrics(author))
        includes: dict[str, list[Json]] = {"users": [author]}
        self._decorate(data, includes, language, hashtag, topics)
        return Post(data, includes)

    def _text(self, language: Language) -> tuple[str, str, str | None, tuple[Topic, ...]]:
        """Text, the language that X names, a subject fit for a hashtag, and what the text is about."""
        dice = self.dice
        chance = dice.random()
        if len(self.topics) > 1 and chance < _TWO_TOPICS:
            pair = tuple(dice.sample(self.topics, 2))
            words = [self._keyword(topic, language) for topic in pair]
            return language.pair.format(*words), language.code, words[0], pair
        topic = None
        if self.topics and chance < _ON_TOPIC:
            topic = dice.choices(self.topics, cum_weights=self._volumes)[0]
        subject = self._keyword(topic, language) if topic else dice.choice(language.subjects)
        about = (topic,) if topic else ()
        if dice.random() < _WORDLESS:
            link = f"https://t.co/{dice.getrandbits(40):010x}"
            return (
                dice.choice(WORDLESS).format(subject if topic else link),
                "und" if topic else "zxx",
                None,
                about,
            )
        leaning = self._leanings[topic.name, language.code] if topic else 0.1
        chance = dice.random()
        mood = (
            "neutral" if chance < 0.3 else "positive" if chance < 0.3 + 0.35 * (1 + leaning) else "negative"
        )
        sentences: tuple[str, ...] = getattr(language, mood)
        text = dice.choice(sentences).format(subject) + dice.choice(EMOJI[mood])
        if dice.random() < 0.4:
            text = f"{dice.choice(language.openers)} {text}"
        return text, language.code, subject if topic else None, about

    def _keyword(self, topic: Topic, language: Language) -> str:
        keywords = topic.keywords.get(language.code) or topic.keywords.get("en") or topic.terms
        keyword = self.dice.choice(keywords)
        # As people write: mostly with a capital, but not always; and as X sends it.
        keyword = keyword[0].upper() + keyword[1:] if self.dice.random() < 0.7 else keyword
        return html.escape(keyword, quote=False)

    def _decorate(
        self,
        data: Json,
        includes: dict[str, list[Json]],
        language: Language,
        hashtag: str | None,
        topics: tuple[Topic, ...],
    ) -> None:
        """Hashtag, link, place and X's own annotations, each now and then."""
        dice = self.dice
        entities: dict[str, list[Json]] = {}
        if hashtag and dice.random() < 0.15 and hashtag.replace("_", "a").isalnum():
            start = len(data["text"]) + 1
            data["text"] += f" #{hashtag}"
            entities["hashtags"] = [{"start": start, "end": start + len(hashtag) + 1, "tag": hashtag}]
        if data["lang"] == "zxx" or dice.random() < 0.12:
            if data["lang"] != "zxx":
                data["text"] += f" https://t.co/{dice.getrandbits(40):010x}"
            start = data["text"].find("https://")
            if start >= 0:
                entities["urls"] = [
                    {
                        "start": start,
                        "end": start + 23,
                        "url": data["text"][start : start + 23],
                        "expanded_url": f"https://news.example/{dice.getrandbits(24):06x}",
                        "display_url": "news.example",
                    }
                ]
        if entities:
            data["entities"] = entities
        if dice.random() < _GEO:
            place = _PLACES[language.code][int(len(language.towns) * dice.random())]
            data["geo"] = {"place_id": place["id"]}
            includes["places"] = [place]
        if topics and dice.random() < 0.3:
            data["context_annotations"] = [_annotation(topic) for topic in topics]

    def _metrics(self, author: Json) -> Json:
        reach = math.sqrt(author["public_metrics"]["followers_count"]) / 40
        chance = self.dice.random
        return {
            "retweet_count": int(reach * chance() ** 4 * 6),
            "reply_count": int(reach * chance() ** 4 * 4),
            "like_count": int(reach * chance() ** 3 * 30),
            "quote_count": int(reach * chance() ** 6 * 2),
            "bookmark_count": 0,
            "impression_count": int(author["public_metrics"]["followers_count"] * chance() / 8),
        }

    def _retweet(self, post_id: int, created_at: str, original: Post) -> Post:
        author = self.authors.one(self.dice.choices(LANGUAGES, cum_weights=self.weights)[0], self.dice)
        source = original.author
        text = f"RT @{source['username']}: {original.text}"
        text = text if len(text) <= 140 else text[:139] + "…"
        data = _data(
            post_id,
            created_at,
            author,
            text,
            original.data["lang"],
            {**original.data["public_metrics"], "like_count": 0},
        )
        data["referenced_tweets"] = [{"type": "retweeted", "id": original.data["id"]}]
        data["entities"] = {**original.data.get("entities", {}), "mentions": [_mention(source, 3)]}
        if "context_annotations" in original.data:
            data["context_annotations"] = original.data["context_annotations"]
        return Post(data, {"users": [author, source], "tweets": [original.data]})

    def _answer(self, post_id: int, created_at: str, original: Post, kind: str) -> Post:
        """A reply or a quote: on the same subjects, by an author of the same language."""
        dice = self.dice
        language = _BY_CODE.get(original.data["lang"], LANGUAGES[0])
        author = self.authors.one(language, dice)
        source = original.author
        text, lang, hashtag, topics = self._text(language)
        if kind == "replied_to":
            text = f"@{source['username']} {text}"
        data = _data(post_id, created_at, author, text, lang, self._metrics(author))
        includes: dict[str, list[Json]] = {"users": [author, source], "tweets": [original.data]}
        data["referenced_tweets"] = [{"type": kind, "id": original.data["id"]}]
        if kind == "replied_to":
            data["in_reply_to_user_id"] = source["id"]
            data["conversation_id"] = original.data["conversation_id"]
            self._decorate(data, includes, language, hashtag, topics)
            data.setdefault("entities", {})["mentions"] = [_mention(source, 0)]
        else:
            start = len(text) + 1
            link = f"https://t.co/{dice.getrandbits(40):010x}"
            data["text"] = f"{text} {link}"
            data["entities"] = {
                "urls": [
                    {
                        "start": start,
                        "end": start + len(link),
                        "url": link,
                        "expanded_url": f"https://x.com/{source['username']}/status/{original.data['id']}",
                        "display_url": f"x.com/{source['username']}",
                    }
                ]
            }
        return Post(data, includes)


class _Authors:
    """Who writes: a fixed set of users per language, a few of them most of the time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._known: dict[tuple[str, int], Json] = {}

    def one(self, language: Language, dice: random.Random) -> Json:
        """An author of the language, by chance."""
        number = int(max(40, _AUTHORS * language.share) * dice.random() ** 2)
        key = (language.code, number)
        if key not in self._known:
            self._known[key] = self._make(language, number)
        return self._known[key]

    def _make(self, language: Language, number: int) -> Json:
        dice = random.Random(f"{self._seed}/{language.code}/{number}")  # noqa: S311 - made-up people
        town = dice.choice(language.towns)
        handle = f"{dice.choice(_HANDLES)}_{dice.choice(_HANDLES)}"[:9]
        followers = int(dice.paretovariate(0.9) * 40)
        user: Json = {
            "id": str(dice.randrange(10**8, 2 * 10**18)),
            "name": dice.choice(language.names),
            "username": f"{handle}{language.code}{number:04}",
            "created_at": f"{dice.randint(2008, 2023)}-{dice.randint(1, 12):02}-01T10:00:00.000Z",
            "verified": dice.random() < 0.03,
            "protected": False,
            "public_metrics": {
                "followers_count": min(followers, 9_000_000),
                "following_count": int(dice.paretovariate(1.1) * 60),
                "tweet_count": int(dice.paretovariate(0.8) * 300),
                "listed_count": followers // 200,
            },
        }
        if dice.random() < 0.7:
            user["location"] = town.profile
        return user


def _data(post_id: int, created_at: str, author: Json, text: str, lang: str, metrics: Json) -> Json:
    own = str(post_id)
    return {
        "id": own,
        "text": text,
        "edit_history_tweet_ids": [own],
        "author_id": author["id"],
        "conversation_id": own,
        "created_at": created_at,
        "lang": lang,
        "possibly_sensitive": False,
        "reply_settings": "everyone",
        "public_metrics": metrics,
    }


def _mention(user: Json, start: int) -> Json:
    return {
        "start": start,
        "end": start + len(user["username"]) + 1,
        "username": user["username"],
        "id": user["id"],
    }


def _annotation(topic: Topic) -> Json:
    entity = random.Random(topic.name).randrange(10**18, 2 * 10**18)  # noqa: S311 - an id that stays
    return {
        "domain": {
            "id": "123",
            "name": "Ongoing News Story",
            "description": "Ongoing News Stories like 'Brexit'",
        },
        "entity": {"id": str(entity), "name": topic.title},
    }


@lru_cache(maxsize=4096)
def _phase(*names: object) -> float:
    """A fixed number in [0, 1) for the names."""
    return random.Random("/".join(map(str, names))).random()  # noqa: S311 - a phase, no secret


_BY_CODE = {language.code: language for language in LANGUAGES}
_PLACES = {
    language.code: [
        {
            "id": f"{random.Random(town.full_name).getrandbits(64):016x}",  # noqa: S311 - an id that stays
            "full_name": town.full_name,
            "name": town.full_name.split(",")[0],
            "country_code": town.country_code,
            "country": town.country,
            "place_type": "city",
        }
        for town in language.towns
    ]
    for language in LANGUAGES
}
