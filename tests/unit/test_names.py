"""One word for one thing: no retired word, no name with two meanings, and a glossary that holds."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    *("benchmarks", "dags", "docker", "docs", "include", "infra", "local", "plugins", "sql", "streamer"),
    *("tests", "tools"),
)
KINDS = {".cfg", ".css", ".html", ".js", ".md", ".py", ".sh", ".sql", ".toml", ".yaml", ".yml"}
NOT_OURS = ("plugins/x_opinion/static/vendor/", "tests/unit/test_names.py")

SERVICES_OWN = re.compile(
    r"aria-labelledby|Query cancelled by user|Run cancelled\.|user_cancelled_or_timedout|CancelledError"
    r"|\bCANCELLED\b|tokenizers refuse it"
)
"""Words of standards, services, stored documents and programs in a model's container, which keep theirs."""

RETIRED = re.compile(
    r"doubl(?:es|ed)(?![a-z])|(?<![a-z])heal(?:s|ed|ing)(?![a-z])|labell(?:ed|ing)|cancelled|cancelling"
    r"|artefact|behaviour|(?<!\$)colour|favour|honour|neighbour|licence|judgement|catalogue|misspelt|whilst"
    r"|(?:author|final|normal|optim|organ|penal|quant|recogn|serial|summar|synchron)is(?:e|ed|es|er|ing|ation)(?![a-z])"
    r"|analys(?:ed|ing)|refus(?:ed|es?|ing|als?)",
    re.IGNORECASE,
)
"""British spellings, and words for which the glossary has another."""

REFERENCE = re.compile(r"`([\w/.-]+)` \(`(\w+)`\)")


def _files() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in KINDS]
    found += [path for path in ROOT.iterdir() if path.suffix in KINDS or path.name == "Makefile"]
    return [path for path in found if not str(path.relative_to(ROOT)).startswith(NOT_OURS)]


def retired(text: str) -> list[str]:
    """The retired words of a text, but for those that are a service's own."""
    return [found[0] for found in RETIRED.finditer(SERVICES_OWN.sub("", text))]


def test_no_retired_word_comes_back() -> None:
    files = _files()
    assert len(files) > 300
    found = {}
    for path in files:
        name = str(path.relative_to(ROOT))
        if words := retired(f"{name}\n{path.read_text()}"):
            found[name] = words
    assert not found, "docs/glossary.md has the word to use"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("three doubles", ["doubles"]),
        ("labelled_rows and unlabelled", ["labelled", "labelled"]),
        ("LABELLED=tweets.parquet", ["LABELLED"]),
        ("a `double` column, healthy, normalized", []),
        ("it raises asyncio.CancelledError", []),
        ("RequestRefusedError", ["Refused"]),
        ("refuses, a refusal, refused", ["refuses", "refusal", "refused"]),
    ],
)
def test_a_retired_word_would_be_found(text: str, words: list[str]) -> None:
    assert retired(text) == words


def test_a_public_class_or_constant_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for folder in ("include", "plugins", "streamer"):
        for path in (ROOT / folder).rglob("*.py"):
            if {"code", "handler"} & set(path.parts):  # programs of their own, in a model's container
                continue
            for node in ast.parse(path.read_text()).body:
                for name in _names(node):
                    places[name].append(str(path.relative_to(ROOT)))
    assert not {name: there for name, there in places.items() if len(there) > 1}


def _names(node: ast.stmt) -> list[str]:
    """The public classes, types and constants that a statement of a module defines."""
    match node:
        case ast.ClassDef(name=name) if not name.startswith("_"):
            return [name]
        case ast.TypeAlias(name=name):
            named = [name]
        case ast.Assign(targets=targets):
            named = [
                each
                for target in targets
                for each in (target.elts if isinstance(target, ast.Tuple) else [target])
            ]
        case ast.AnnAssign(target=target):
            named = [target]
        case _:
            return []
    return [each.id for each in named if isinstance(each, ast.Name) and each.id[0].isupper()]


def test_the_glossary_names_what_the_code_defines() -> None:
    rows = [
        line
        for line in (ROOT / "docs" / "glossary.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| Term")
    ]
    assert len(rows) > 50
    for row in rows:
        found = REFERENCE.search(row.rsplit("|", 2)[1])
        assert found, row
        path, symbol = ROOT / found[1], found[2]
        defined = rf"(?m)^\s*(?:class |def )?(?:\w+, )*{symbol}\b[^\n]*[:=(]"
        assert re.search(defined, path.read_text()), row
