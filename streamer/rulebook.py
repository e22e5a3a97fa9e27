"""The rules that the streamer wants of X: from the topics file and the sample, reconciled, and what X has."""

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
    """What is wanted may change at any time (`reread`, `set_sample`); `reconcile` makes X's rules follow.

    ``rule_set`` is what X was last made to have. Any thread may call.
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
        """Looks whether the topics file has changed; what cannot be used is told and left aside."""
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
        """Whether something else is wanted than X was last made to have."""
        return self._wanted() != self.rule_set.identity

    def reconcile(self) -> rules.Plan:
        """Makes X's rules the wanted ones and says what had to be done.

        Raises `RulesError` where X refuses a rule (then X keeps what it has), tweepy's and requests'
        exceptions, and `ValueError` where X's answer is no JSON.
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
            # Rules that have just been deleted may bring a tweet for some seconds more.
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
