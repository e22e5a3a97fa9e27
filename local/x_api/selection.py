"""Which fields and expansions a request asks for, and posts rendered by that.

Without parameters X gives a post's id, text and edit history, a user's id, name and username, a place's id
and full name. An object is included only if an expansion names it; the field that refers to it comes along.
Source: X's documentation "Fields" and "Expansions", OpenAPI 2.167.

OpenAPI 2.168 calls tweets posts: ``post.fields`` with ``referenced_posts``, ``note_post`` and
``edit_history_post_ids``, and expansions named alike. xdk 0.10.6 sends that to search, and the names from
before to the stream; tweepy 4.17 and twarc 2.14 send the names from before everywhere. Both are taken at
every endpoint. Objects are written with the names from before, as X answers ``tweet.fields``, which this
project sends; users of X's API report that ``post.fields`` gets the new names, which is not imitated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from local.x_api.post import Json, Post, names, objects, part
from local.x_api.problems import invalid_request

_FIELDS = {
    "tweet.fields": names(
        "article attachments author_id card_uri community_id context_annotations conversation_id created_at "
        "display_text_range edit_controls edit_history_tweet_ids entities geo id in_reply_to_user_id lang "
        "matched_media_notes media_metadata non_public_metrics note_request_suggestions note_tweet "
        "organic_metrics paid_partnership possibly_sensitive promoted_metrics public_metrics "
        "referenced_tweets reply_settings scopes source suggested_source_links "
        "suggested_source_links_with_counts text withheld"
    ),
    "user.fields": names(
        "affiliation confirmed_email connection_status created_at description entities id "
        "is_identity_verified location most_recent_tweet_id name parody pinned_tweet_id "
        "profile_banner_url profile_image_url protected public_metrics receives_your_dm "
        "subscription subscription_type url username verified verified_followers_count verified_type withheld"
    ),
    "place.fields": names("contained_within country country_code full_name geo id name place_type"),
    "media.fields": names(
        "alt_text duration_ms height media_key non_public_metrics organic_metrics preview_image_url "
        "promoted_metrics public_metrics type url variants width"
    ),
    "poll.fields": names("duration_minutes end_datetime id options voting_status"),
}
_TWEET_NAMES = {
    "referenced_tweets": "referenced_posts",
    "note_tweet": "note_post",
    "edit_history_tweet_ids": "edit_history_post_ids",
}
"""The fields that OpenAPI 2.168 calls otherwise."""
_DEFAULTS = {
    "tweet.fields": frozenset({"id", "text", "edit_history_tweet_ids"}),
    "user.fields": frozenset({"id", "name", "username"}),
    "place.fields": frozenset({"id", "full_name"}),
    "media.fields": frozenset({"media_key", "type"}),
    "poll.fields": frozenset({"id", "options"}),
}
_EXPANSIONS: dict[str, str] = {
    "author_id": "author_id",
    "in_reply_to_user_id": "in_reply_to_user_id",
    "entities.mentions.username": "entities",
    "referenced_tweets.id": "referenced_tweets",
    "referenced_tweets.id.author_id": "referenced_tweets",
    "referenced_tweets.id.attachments.media_keys": "referenced_tweets",
    "geo.place_id": "geo",
    "attachments.media_keys": "attachments",
    "attachments.media_source_tweet": "attachments",
    "attachments.poll_ids": "attachments",
    "edit_history_tweet_ids": "edit_history_tweet_ids",
    "entities.note.mentions.username": "note_tweet",
    "article.cover_media": "article",
    "article.media_entities": "article",
}
_POST_FIELDS = {_TWEET_NAMES.get(name, name): name for name in (*_FIELDS["tweet.fields"], "article_title")}
"""The values of ``post.fields``, and the fields that they are in ``tweet.fields``."""
_POST_EXPANSIONS = {
    "referenced_posts": "referenced_tweets.id",
    "referenced_posts.id": "referenced_tweets.id",
    "referenced_posts.id.author_id": "referenced_tweets.id.author_id",
    "referenced_posts.id.attachments.media_keys": "referenced_tweets.id.attachments.media_keys",
    "edit_history_post_ids": "edit_history_tweet_ids",
}
"""The expansions of OpenAPI 2.168 that have another name in 2.167."""
_CUT = 280
"""Characters of a post's text that X gives outside ``note_tweet``."""

_KNOWN: dict[str, frozenset[str]] = {
    "expansions": frozenset((*_EXPANSIONS, *_POST_EXPANSIONS)),
    **_FIELDS,
    "post.fields": frozenset(_POST_FIELDS),
}
PARAMETERS = tuple(_KNOWN)
"""The names of the query parameters that `Selection.read` reads."""


@dataclass(frozen=True)
class Selection:
    """The fields by kind of object, and the expansions."""

    fields: Mapping[str, frozenset[str]]
    expansions: frozenset[str]

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> Selection:
        """From a request's parameters; raises `Problem` 400 naming every value that X does not know."""
        errors = []
        chosen: dict[str, frozenset[str]] = {}
        for name, known in _KNOWN.items():
            values = frozenset(filter(None, parameters.get(name, "").split(",")))
            chosen[name] = values
            errors += [
                (
                    {name: value},
                    f"The `{name}` query parameter value [{value}] is not one of [{','.join(sorted(known))}]",
                )
                for value in sorted(values - known)
            ]
        if errors:
            raise invalid_request(errors)
        expansions = frozenset(_POST_EXPANSIONS.get(name, name) for name in chosen.pop("expansions"))
        chosen["tweet.fields"] |= {_POST_FIELDS[name] for name in chosen.pop("post.fields")}
        fields = {name: values | _DEFAULTS[name] for name, values in chosen.items()}
        fields["tweet.fields"] |= {_EXPANSIONS[expansion] for expansion in expansions}
        return cls(fields, expansions)

    def data(self, post: Post) -> Json:
        """The post's own object; the text of a long post is cut, and whole in ``note_tweet`` alone."""
        data = self._cut(post.data, "tweet.fields")
        if part(post.data, "note_tweet").get("text") and len(post.text) > _CUT:
            data["text"] = post.text[: _CUT - 1] + "…"
        return data

    def includes(self, posts: Iterable[Post]) -> dict[str, list[Json]]:
        """What the expansions bring along, each object once; no key without objects."""
        found: dict[str, dict[str, Json]] = {}
        for post in posts:
            for kind, fields, key in (
                ("users", "user.fields", "id"),
                ("tweets", "tweet.fields", "id"),
                ("places", "place.fields", "id"),
                ("media", "media.fields", "media_key"),
                ("polls", "poll.fields", "id"),
            ):
                items = objects(post.includes, kind)
                if not items:
                    continue
                wanted = self._wanted(kind, post)
                for item in items:
                    if item.get(key) in wanted and item[key] not in found.setdefault(kind, {}):
                        found[kind][item[key]] = self._cut(item, fields)
        return {kind: list(items.values()) for kind, items in found.items() if items}

    def _cut(self, item: Json, fields: str) -> Json:
        wanted = self.fields[fields]
        return {name: value for name, value in item.items() if name in wanted}

    def _wanted(self, kind: str, post: Post) -> set[str]:
        data = post.data
        match kind:
            case "users":
                return set(self._wanted_users(post))
            case "tweets":
                wanted = set()
                if any(expansion.startswith("referenced_tweets.id") for expansion in self.expansions):
                    wanted |= set(post.references.values())
                return wanted
            case "places":
                place_id = part(data, "geo").get("place_id")
                return {place_id} if place_id and "geo.place_id" in self.expansions else set()
            case "media":
                keys = part(data, "attachments").get("media_keys") or ()
                return set(keys) if "attachments.media_keys" in self.expansions else set()
        polls = part(data, "attachments").get("poll_ids") or ()
        return set(polls) if "attachments.poll_ids" in self.expansions else set()

    def _wanted_users(self, post: Post) -> Iterator[str]:
        data = post.data
        if "author_id" in self.expansions and data.get("author_id"):
            yield data["author_id"]
        if "in_reply_to_user_id" in self.expansions and data.get("in_reply_to_user_id"):
            yield data["in_reply_to_user_id"]
        if "entities.mentions.username" in self.expansions:
            mentioned = post.entities("mentions")
            yield from (
                user["id"]
                for user in objects(post.includes, "users")
                if str(user.get("username", "")).lower() in mentioned
            )
        if "referenced_tweets.id.author_id" in self.expansions:
            referenced = set(post.references.values())
            yield from (
                other["author_id"]
                for other in objects(post.includes, "tweets")
                if other.get("id") in referenced and other.get("author_id")
            )


EVERYTHING = Selection(_FIELDS, frozenset(_EXPANSIONS))
"""All that can be asked for."""
