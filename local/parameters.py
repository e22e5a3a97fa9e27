"""Checks the parameters of `make` before anything is set up: ``python3 local/parameters.py``.

Make passes them by the environment. Any Python 3 must be able to run this file.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Callable, Mapping

SQLITE, POSTGRESQL = "sqlite", "postgresql"
LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104 - only where it is asked for
RECIPES = os.path.join(os.path.dirname(__file__), "..", "tools", "models", "recipes.yaml")  # noqa: PTH118, PTH120
Check = Callable[[str], None]


def whole(low: int, high: int) -> Check:
    """A check of whole numbers; it raises `ValueError` with what is wrong."""

    def check(text: str) -> None:
        if not re.fullmatch("[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"not a whole number from {low} to {high}")

    return check


def one_of(*values: str) -> Check:
    """A check of a few values; it raises `ValueError` with what is wrong."""

    def check(text: str) -> None:
        if text not in values:
            raise ValueError(f"not {' or '.join(values)}")

    return check


def readable_file(text: str) -> None:
    """Raises `ValueError` with the reason where a file cannot be read."""
    try:
        with open(text, "rb"):  # noqa: PTH123 - a path as people write it
            return
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def readable_file_or_folder(text: str) -> None:
    """Raises `ValueError` with the reason where neither a file nor a folder can be read."""
    try:
        os.listdir(text)  # noqa: PTH208 - a path as people write it
    except NotADirectoryError:
        readable_file(text)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def folder(text: str) -> None:
    """Raises `ValueError` with the reason where a folder cannot be read."""
    try:
        os.listdir(text)  # noqa: PTH208 - a path as people write it
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def recipe(text: str) -> None:
    """Raises `ValueError` if no recipe has this name."""
    with open(RECIPES, encoding="utf-8") as file:  # noqa: PTH123 - runs on any Python 3
        names = re.findall(r"^([\w-]+):", file.read(), re.MULTILINE)
    one_of(*names)(text)


def languages(text: str) -> None:
    """Raises `ValueError` if a text is not a list of languages."""
    if not re.fullmatch("[a-z]{2,3}(,[a-z]{2,3})*", text):
        raise ValueError("not languages such as ru,uk")


def parts(text: str) -> None:
    """Raises `ValueError` if a text is not a list of parts of `make bench`."""
    if not re.fullmatch("[a-z]+(,[a-z]+)*", text):
        raise ValueError("not parts such as coverage,removals")


def artifact(text: str) -> None:
    """Raises `ValueError` if a text is neither an archive's address in S3 nor what can be read."""
    if text.startswith("s3://"):
        if not re.fullmatch(r"s3://[a-z0-9.-]+/.+\.tar\.gz", text):
            raise ValueError("not the address of a .tar.gz in S3, such as s3://bucket/e5/model.tar.gz")
        return
    readable_file_or_folder(text)


def model_names(text: str) -> None:
    """Raises `ValueError` if a text is not one or more names of models, joined by commas."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(,[A-Za-z0-9_.-]+)*", text):
        raise ValueError("not names of models joined by commas, such as opus-mt,twitter-roberta")


def host(text: str) -> None:
    """Raises `ValueError` if a text is neither an address nor a host's name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        label = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
        if not re.fullmatch(rf"{label}(\.{label})*", text):
            raise ValueError("neither an address nor a host's name") from None


CHECKS: dict[str, Check] = {
    "ONCE": one_of("0", "1"),
    "HOURS": whole(1, 160),
    "RATE": whole(1, 900_000),
    "ARCHIVE": readable_file_or_folder,
    "TOPICS": readable_file,
    "MODELS": model_names,
    "SENTIMENT": artifact,
    "TRANSLATION": artifact,
    "PORT": whole(1024, 65_500),
    "DATABASE": one_of(SQLITE, POSTGRESQL),
    "BIND": one_of(LOOPBACK, EVERYWHERE),
    "GATEWAY": host,
    "BROWSER": one_of("0", "1"),
    "MINUTES": whole(1, 100_000),
    "POSTS": whole(1, 250),
    "LABELED": readable_file_or_folder,
    "ONLY": parts,
    "MODEL": recipe,
    "FROM": folder,
    "LANGUAGES": languages,
    "UPLOAD": one_of("0", "1"),
}
"""The checks, which raise `ValueError` for a wrong value, by the parameter's name."""


def wrong(values: Mapping[str, str]) -> list[str]:
    """The errors of parameters that have a value, one line each."""
    lines = []
    for name, check in CHECKS.items():
        value = values.get(name)
        if value:
            try:
                check(value)
            except ValueError as error:
                lines.append(f"{name}={value}: {error}")
    return lines


def main() -> int:
    """Names what is wrong as make names its own errors; exit status 2 if anything is."""
    lines = wrong(os.environ)
    for line in lines:
        print(f"make: {line}", file=sys.stderr)
    return 2 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
