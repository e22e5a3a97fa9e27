"""Reads a statement's tokens, by the lexical rules of Trino or, for Hive's DDL, by those of Hive."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from local.aws.athena.statements import Name, NotOfferedError, StatementError


@dataclass(frozen=True)
class Token:
    """A word, quoted text, number or sign of a statement, and where it stands."""

    kind: Literal["word", "quoted", "backquoted", "string", "number", "symbol", "end"]
    text: str
    start: int
    end: int

    @property
    def value(self) -> str:
        """The text without its quotes."""
        if self.kind in ("quoted", "backquoted", "string"):
            mark = self.text[0]
            return self.text[1:-1].replace(mark * 2, mark)
        return self.text


_LEXICON = r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      |(?P<string>{string})
      |(?P<quoted>"(?:[^"]|"")*")
      |(?P<backquoted>`(?:[^`]|``)*`)
      |(?P<number>\d+(?:\.\d+)?)
      |(?P<word>[^\W\d][\w$]*)
      |(?P<symbol>.)"""
_SQL = re.compile(_LEXICON.replace("{string}", r"'(?:[^']|'')*'"), re.VERBOSE | re.DOTALL)
_HIVE = re.compile(_LEXICON.replace("{string}", r"'(?:[^'\\]|\\.|'')*'"), re.VERBOSE | re.DOTALL)
"""Tokens of Trino's SQL, and of Hive's, in whose strings a backslash keeps the next character."""

_HIVE_STARTS = re.compile(r"(ALTER|DROP|DESC|DESCRIBE|MSCK|SHOW|CREATE (EXTERNAL|DATABASE|SCHEMA))\b")

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "0": "\0", "Z": "\x1a"}


class Tokens:
    """The tokens of one statement, read from left to right.

    Raises `StatementError` if there is no statement or more than one.
    """

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._tokens = _tokens(sql, _SQL)
        if _HIVE_STARTS.match(" ".join(token.text.upper() for token in self._tokens[:2])):
            self._tokens = _tokens(sql, _HIVE)
        while self._tokens and self._tokens[-1].text == ";":
            self._tokens.pop()
        if not self._tokens:
            raise StatementError("line 1:1: the query has no statement")
        if any(token.text == ";" for token in self._tokens):
            raise StatementError(f"Only one sql statement is allowed. Got: {sql}")
        self.text = sql[: self._tokens[-1].end]
        self._tokens.append(Token("end", "<EOF>", len(self.text), len(self.text)))
        self._at = 0

    @property
    def current(self) -> Token:
        """The token to be read next."""
        return self._tokens[self._at]

    def mismatch(self, expected: str) -> StatementError:
        """The error of a token that is not what is expected."""
        before = self._sql[: self.current.start]
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        return StatementError(
            f"line {line}:{column}: mismatched input '{self.current.text}'. Expecting: {expected}"
        )

    def is_next(self, *words: str) -> bool:
        """Whether these words or signs come next."""
        tokens = self._tokens[self._at : self._at + len(words)]
        return len(tokens) == len(words) and all(
            token.kind in ("word", "symbol") and token.text.upper() == word
            for token, word in zip(tokens, words, strict=True)
        )

    def accept(self, *words: str) -> bool:
        """Reads these words or signs if they come next; returns whether they did."""
        if self.is_next(*words):
            self._at += len(words)
            return True
        return False

    def expect(self, *words: str) -> None:
        """Reads these words or signs; raises `StatementError` if others come next."""
        for word in words:
            if not self.accept(word):
                raise self.mismatch(f"'{word}'")

    def one_of(self, *words: str) -> str:
        """Reads one of these words and returns it; raises `StatementError` if another comes next."""
        for word in words:
            if self.accept(word):
                return word
        raise self.mismatch(", ".join(f"'{word}'" for word in words))

    def take(self) -> Token:
        """Reads any token."""
        token = self.current
        self._at += 1
        return token

    def identifier(self) -> str:
        """Reads a name, in lower case."""
        if self.current.kind not in ("word", "quoted", "backquoted"):
            raise self.mismatch("<identifier>")
        return self.take().value.lower()

    def name(self) -> Name:
        """Reads a table's name with or without its database; `NotOfferedError` for another catalog."""
        parts = [self.identifier()]
        while self.accept("."):
            parts.append(self.identifier())
        if len(parts) == 3 and parts[0] == "awsdatacatalog":
            parts = parts[1:]
        if len(parts) > 2:
            raise NotOfferedError(
                f"Catalog {parts[0]} is not offered by the local Athena; there is AwsDataCatalog alone"
            )
        return Name(parts[0] if len(parts) == 2 else None, parts[-1])

    def string(self) -> str:
        """Reads a string, without its quotes and escapes."""
        if self.current.kind not in ("string", "quoted"):
            raise self.mismatch("<string>")
        return re.sub(r"\\(u[0-9a-fA-F]{4}|[0-3][0-7]{2}|.)", _unescape, self.take().value)

    def done[T](self, statement: T) -> T:
        """Returns the statement; raises `StatementError` if tokens are left."""
        if self.current.kind != "end":
            raise self.mismatch("<EOF>")
        return statement

    def listed[T](self, item: Callable[[], T]) -> list[T]:
        """Reads ``(item, …)``."""
        self.expect("(")
        items = [item()]
        while self.accept(","):
            items.append(item())
        self.expect(")")
        return items

    def in_place(self, start: int, end: int) -> str:
        """A part of the statement, with blanks in place of what precedes it, so that positions stay."""
        return re.sub(r"[^\n]", " ", self._sql[:start]) + self._sql[start:end]


def _tokens(sql: str, pattern: re.Pattern[str]) -> list[Token]:
    return [
        Token(match.lastgroup, match[0], match.start(), match.end())  # pyrefly: ignore[bad-argument-type]
        for match in pattern.finditer(sql)
        if match.lastgroup != "space"
    ]


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 5:
        return chr(int(code[1:], 16))
    if len(code) == 3:
        return chr(int(code, 8))
    return _ESCAPES.get(code, code)
