"""The rules that the streamer wants, from the topics file and the sample, reconciled with X's rules."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path

import tweepy

from include.x import rules
from include.x.topics import Topics, TopicsError, load
from streamer.lines import Identity, RuleSet

_REMEMBERED_RULES = 1000

log = logging.getLogger(__name__)


class Rulebook:
    """The wanted rules may change at any time (`reread`, `set_sample`); `reconcile` updates X's rules.

    ``rule_set`` is the last set that X was updated to. Thread-safe.
    """

    def __init__(self, client: tweepy.Client, path: Path, topics: Topics, session: str, sample: int) -> None:
        self._client = client
        self._path = path
        self._content = _digest(path)
        self._session = session
        self._lock = threading.Lock()
        self._identities: dict[str, Identity] = {}
        self.topics = topics
        self.sample = sample
        self.problem: str | None = None
        self.rule_set = RuleSet(self._wanted(), topics)

    def reread(self) -> bool:
        """Checks whether the topics file has changed; an unusable file is logged and ignored."""
        content = _digest(self._path)
        if content == self._content:
            return False
        self._content = content
        try:
            self.topics = load(self._path)
        except TopicsError as error:
            self.problem = str(error)
            log.error("topics file not used", extra={"fields": {"reason": str(error)}})
            return False
        self.problem = None
        self.sample = min(self.sample, self.topics.collection.sample)
        return True

    @property
    def behind(self) -> bool:
        """Whether the wanted rules differ from those that X was last updated to."""
        return self._wanted() != self.rule_set.identity

    def reconcile(self) -> rules.Plan:
        """Updates X's rules to the wanted ones and returns the changes.

        Raises `RulesError` if X rejects a rule (X's rules are then unchanged), tweepy's and requests'
        exceptions, and `ValueError` if X's answer is not JSON.
        """
        with self._lock:
            topics, wanted = self.topics, self._wanted()
            present = rules.present_rules(self._client)
            changes = rules.plan(rules.compile_rules(topics, wanted.sample), present)
            if changes:
                rules.apply(self._client, changes)
                present = rules.present_rules(self._client)
                log.info(
                    "rules reconciled",
                    extra={
                        "fields": {
                            "added": len(changes.add),
                            "deleted": len(changes.delete),
                            "kept": len(changes.keep),
                            "rule_hash": wanted.rule_hash,
                            "sample": wanted.sample,
                        }
                    },
                )
            # Rules that were just deleted may match tweets for some more seconds.
            former = list(self._identities.items())[-_REMEMBERED_RULES:]
            self._identities = {**dict(former), **{found.id: wanted for found in present}}
            self.rule_set = RuleSet(wanted, topics, self._identities)
            return changes

    def _wanted(self) -> Identity:
        return Identity(self._session, rules.rule_hash(self.topics), self.sample)


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
