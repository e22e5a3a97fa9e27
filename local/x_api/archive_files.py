"""The JSON values in the files that people keep tweets in, read in bounded memory.

A file is plain or compressed (gzip, bzip2, xz, Zstandard), a zip, or a folder of such files; its text is
UTF-8, or UTF-16 or UTF-32 with a byte order mark. It holds one value a line (NDJSON), an array, or values
that are written over several lines.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import json
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from include.x.text import loads

_CHUNK = 1 << 20
_LONGEST_VALUE = 1 << 28
"""A single value of more bytes is no page of tweets; X's pages have less than a MiB."""
_HEAD = 4096
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, UnicodeError)
_VALUE = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s,]*")
_NEXT = re.compile(r'\}[\s,]*\{\s*"[^"\\]*"')
"""The end of an object, and the beginning of the next up to its first name."""
_OPENED = re.compile(rb'(\{|\[|"[^"\\]*"\s*:\s*[\[{]?)\s*|[\[{].*,\s*')

NO_JSON = "no JSON"
READING = "archive being read"
"""With this the log tells how far the reading is."""


class FileError(ValueError):
    """A file that holds no tweets of X API v2; the message says what it is and what to do."""


class ChangedError(RuntimeError):
    """A file or folder that was changed while it was read."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} was changed while it was read: start again when it is written whole")


@dataclass
class Reading:
    """What has been read so far: of how many bytes, and what was wrong."""

    total: int
    done: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    """Of the decompressed contents."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Files that end too early or are broken inside, with the reason; what came before has been read."""


def files(path: Path) -> list[Path]:
    """The file, or all files below a folder in the order of their names, without hidden ones."""
    return [file for file in _entries(path) if file.is_file()] if path.is_dir() else [path]


def _entries(folder: Path) -> list[Path]:
    """What lies below a folder; links to other folders are not followed."""
    return sorted(
        entry
        for entry in folder.rglob("*")
        if not any(part.startswith(".") for part in entry.relative_to(folder).parts)
    )


def identity(path: Path) -> Any:
    """A SHA-256 of a file's bytes, or of a folder's names and bytes, as `hashlib` gives it."""
    digest = hashlib.sha256()
    for file in files(path):
        if path.is_dir():
            digest.update(
                f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode(errors="surrogateescape")
            )
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    return digest


def values(
    path: Path, told: Callable[[], None], skipped: Callable[[str], None]
) -> tuple[Reading, Iterator[Any]]:
    """The values in a file or folder, one after the other, and the state of the reading.

    ``told`` is called now and then; ``skipped`` for each value that cannot be read and each file of a folder
    or zip that is none of tweets, with the reason. Raises `OSError` for what cannot be opened, `FileError`
    where the one file is none of tweets, and `ChangedError` where something is written meanwhile.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileError("neither a file nor a folder: write its content to a file")
    found = files(path)
    if path.is_dir():
        for entry in _entries(path):
            if entry.is_symlink() and not entry.is_file():
                skipped("a link that leads to no file: give the folder that it leads to")
    reading = Reading(sum(file.stat().st_size for file in found))
    return reading, _all_values(path, found, reading, told, skipped)


def _all_values(
    path: Path, found: list[Path], reading: Reading, told: Callable[[], None], skipped: Callable[[str], None]
) -> Iterator[Any]:
    before = 0
    for file in found:
        name = str(file.relative_to(path)) if path.is_dir() else file.name
        with file.open("rb") as raw:
            opened = _state(os.fstat(raw.fileno()))
            if raw.read(4) in _ZIP:
                parts = _members(raw, name, reading)
            else:
                raw.seek(0)
                parts = iter([(name, cast("IO[bytes]", raw))])
            for part, content in parts:

                def advanced(raw: IO[bytes] = raw, before: int = before) -> None:
                    reading.done = before + raw.tell()
                    told()

                try:
                    yield from _values(content, part, reading, advanced, skipped)
                except FileError as error:
                    if len(found) == 1 and part == name:
                        raise
                    skipped(str(error))
            if _state(file.stat()) != opened:
                raise ChangedError(name)
        before += file.stat().st_size
    if files(path) != found:
        raise ChangedError(path.name)
    reading.done = reading.total
    told()


def _state(of: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is written to or replaced."""
    return of.st_ino, of.st_size, of.st_mtime_ns


def _members(raw: IO[bytes], name: str, reading: Reading) -> Iterator[tuple[str, IO[bytes]]]:
    """The files in a zip."""
    try:
        with zipfile.ZipFile(raw) as archive:
            for member in archive.infolist():
                hidden = any(part.startswith((".", "__MACOSX")) for part in member.filename.split("/"))
                if member.is_dir() or hidden:
                    continue
                if member.flag_bits & 1:
                    raise FileError("a zip with a password: unpack it and give the folder")
                with archive.open(member) as content:
                    yield f"{name}/{member.filename}", content
    except (zipfile.BadZipFile, NotImplementedError) as error:
        reading.damaged[name] = str(error)


def _values(
    content: IO[bytes],
    name: str,
    reading: Reading,
    advanced: Callable[[], None],
    skipped: Callable[[str], None],
) -> Iterator[Any]:
    """The values of one file; what ends too early or is broken gives those before."""
    chunks = _decoded(_chunks(content, name, reading, advanced))
    head = next(chunks, b"")
    while head and not head.strip():
        head = next(chunks, b"")
    if not head:
        return
    start = head.lstrip()[:_HEAD]
    _reject(start)
    if start.startswith(b"[") or _OPENED.fullmatch(start.split(b"\n", 1)[0].rstrip(b"\r")):
        yield from _written_values(head, chunks, skipped)
    else:
        yield from _lines(head, chunks, skipped)


def _chunks(content: IO[bytes], name: str, reading: Reading, advanced: Callable[[], None]) -> Iterator[bytes]:
    """The decompressed bytes, and `Reading` kept up to date."""
    try:
        source = _decompressed(content)
        while chunk := source():
            reading.digest.update(chunk)
            advanced()
            yield chunk
    except _DAMAGE as error:
        reading.damaged[name] = str(error) or type(error).__name__


def _decompressed(content: IO[bytes]) -> Callable[[], bytes]:
    """Reads the next piece; a decompressor gives what it has before it finds the end missing."""
    magic = content.read(6)
    content.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return partial(gzip.GzipFile(fileobj=content).read1, _CHUNK)
    if magic[:3] == b"BZh":
        return partial(bz2.BZ2File(content).read1, _CHUNK)
    if magic == b"\xfd7zXZ\0":
        return partial(lzma.LZMAFile(content).read1, _CHUNK)
    if magic[:4] == b"\x28\xb5\x2f\xfd":
        # Imported where it is needed: it takes a quarter of a second.
        import pyarrow

        stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(content, "r"), "zstd")
        return cast("Callable[[], bytes]", partial(stream.read, 1 << 16))
    return partial(content.read, _CHUNK)


def _decoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same text as UTF-8 without a byte order mark."""
    first = next(chunks, b"")
    mark, encoding = next(
        ((mark, encoding) for mark, encoding in _BYTE_ORDER_MARKS if first.startswith(mark)), (b"", "utf-8")
    )
    if encoding == "utf-8":
        yield first[len(mark) :]
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield decoder.decode(first).encode("utf-8", "replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "replace")


def _lines(head: bytes, chunks: Iterator[bytes], skipped: Callable[[str], None]) -> Iterator[Any]:
    """The values of NDJSON."""
    rest = head
    while rest:
        *whole, rest = rest.split(b"\n")
        for line in whole:
            if line.strip():
                try:
                    value = loads(line)
                except ValueError:
                    skipped(NO_JSON)
                else:
                    yield value
        if len(rest) > _LONGEST_VALUE:
            skipped(f"a line of more than {_LONGEST_VALUE >> 20} MiB")
            rest = _after_line(chunks)
        # As much again as there is: a line of many chunks is not split once for each.
        more, wanted = [], max(len(rest), 1)
        while wanted > 0 and (chunk := next(chunks, b"")):
            more.append(chunk)
            wanted -= len(chunk)
        if not more:
            break
        rest += b"".join(more)
    if rest.strip():
        try:
            value = loads(rest)
        except ValueError:
            skipped(NO_JSON)
        else:
            yield value


def _after_line(chunks: Iterator[bytes]) -> bytes:
    """What follows the end of a line that is left out."""
    for chunk in chunks:
        if b"\n" in chunk:
            return chunk.split(b"\n", 1)[1]
    return b""


def _written_values(head: bytes, chunks: Iterator[bytes], skipped: Callable[[str], None]) -> Iterator[Any]:
    """The values of one or more arrays, and values that stand one after the other outside of any."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    text, place, in_array = _text(decoder, head), 0, False
    next_one, reach = None, 0
    while True:
        place = cast("re.Match[str]", _BETWEEN.match(text, place)).end()
        if place < len(text):
            if text[place] in "[]" and in_array == (text[place] == "]"):
                in_array = not in_array
                place += 1
                continue
            if next_one and (end := text.find(next_one, place, place + reach) + 1):
                # No value begins with another whole one: if this is one, it is the one. Much the fastest.
                try:
                    value = loads(text[place:end].encode("utf-8", "surrogatepass"))
                except ValueError:
                    pass
                else:
                    yield value
                    place = end
                    continue
            try:
                _, end = _VALUE.raw_decode(text, place)
            except RecursionError:
                skipped("JSON that is nested too deeply, and what follows it")
                return
            except json.JSONDecodeError as error:
                # Only what stands near the end can be a value that has not come whole.
                if error.pos < len(text) - _HEAD and not error.msg.startswith("Unterminated string"):
                    skipped("broken JSON, and what follows it")
                    return
            else:
                # A number at the end of the text may go on; objects end with themselves.
                if end < len(text) or text[end - 1] in '}]"':
                    try:
                        value = loads(text[place:end].encode("utf-8", "surrogatepass"))
                    except ValueError:
                        skipped(NO_JSON)
                    else:
                        yield value
                    if found := _NEXT.match(text, end - 1):
                        next_one, reach = found[0], 4 * (end - place)
                    place = end
                    continue
        more, wanted = [], max(len(text) - place, 1)
        while wanted > 0 and (chunk := next(chunks, b"")):
            more.append(_text(decoder, chunk))
            wanted -= len(chunk)
        if not more or len(text) - place > _LONGEST_VALUE:
            if text[place:].strip():
                skipped("JSON that does not end")
            return
        text, place = text[place:] + "".join(more), 0


def _text(decoder: codecs.IncrementalDecoder, chunk: bytes) -> str:
    try:
        return decoder.decode(chunk)
    except UnicodeDecodeError:
        decoder.reset()
        return chunk.decode("utf-8", "replace")


def _reject(start: bytes) -> None:
    """Raises `FileError` for a file that begins as none of tweets does."""
    lowered = start[:512].lower()
    line = start.split(b"\n", 1)[0]
    if start.startswith(b"window.YTD.") or start.startswith(b"window.__THAR_CONFIG"):
        raise FileError(
            "X's own download of an account's data, which is no payload of X API v2: look the ids up with"
            " `twarc2 hydrate ids.txt tweets.jsonl`"
        )
    if b"ustar" in start[257:263]:
        raise FileError("a tar: unpack it (`tar -xf`) and give the folder")
    if start.startswith(_ZIP):
        raise FileError("a zip inside another: unpack it and give the folder")
    if start.startswith((b"PAR1", b"SQLite format 3", b"ARROW1", b"Obj\x01")) or b"\0" in start[:512]:
        raise FileError("a binary file, not JSON: export it as NDJSON of X API v2's payloads")
    if lowered.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise FileError("HTML or XML, not JSON: give the JSON that X API v2 answered")
    if not line.startswith((b"{", b"[")) and any(mark in line for mark in (b",", b"\t", b";")):
        if b"thread_id" in line and b"timestamp" in line:
            raise FileError(
                "a CSV of 4CAT, which has lost a part of the payload: export the dataset's NDJSON, or look"
                " its ids up with `twarc2 hydrate ids.txt tweets.jsonl`"
            )
        raise FileError(
            "a CSV, which has lost a part of the payload: give the JSON that it was made from, or look its"
            " ids up with `twarc2 hydrate ids.txt tweets.jsonl`"
        )
    first = line.strip()
    if first.isdigit():
        raise FileError("a list of ids: look them up with `twarc2 hydrate ids.txt tweets.jsonl`")
