"""Translation into English by opus-mt models in CTranslate2 behind SageMaker's handler functions.

Answers `{"id", "translated_text"}` (see `serving` for the rest of the contract), or `{"id", "error"}` for a
language that it has no model for. The artifact holds `translator.json`, which names a folder for each
language, and those folders: `model.bin`, `config.json`, `shared_vocabulary.json` and `source.spm`.

What is no language passes through as it is: handles, links, hashtags, emoji, line breaks. They are taken off
the ends of a line; one inside a sentence is left there for the model, because half sentences translate badly.
Only where it does not come through whole is the sentence translated in parts around it.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ctranslate2
from sentencepiece import SentencePieceProcessor
from serving import batches, input_fn, output_fn, threads, worker_memory  # type: ignore[import-not-found]

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]

_END, _UNKNOWN = "</s>", "<unk>"
_SPACE = "\u2581"
_PICTURE = "\U0001f000-\U0001faff\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff"
# A joiner, selector or tag belongs to a picture only behind one: joiners are letters' too, in Hindi for one.
_EMOJI = rf"(?:[0-9#*]\ufe0f?\u20e3|[{_PICTURE}][{_PICTURE}\ufe0f\u200d\u20e3\U000e0020-\U000e007f]*)+"
_NAME = r"https?://\S+|(?<![\w@])@\w{1,15}|(?<![\w#＃])[#＃]\w+"
_KEPT = re.compile(rf"({_NAME}|{_EMOJI})")
_NAMES = re.compile(_NAME)
_EMOJIS = re.compile(f"({_EMOJI})")
_LINES = re.compile(r"([\r\n\u2028]+)")
_SENTENCES = re.compile(r"((?<=[.!?…])\s+|(?<=[。！？]))")
_WORD = re.compile(r"[^\W_]")
_GLUED = re.compile(r"\w")
# As Moses' normalize-punctuation, which opus-mt's training texts went through.
_PUNCTUATION = str.maketrans(
    {
        **dict.fromkeys("„“”«»", '"'),
        **dict.fromkeys("´‘‚’", "'"),
        "–": "-",
        "—": " - ",
        "…": "...",
        "\u00a0": " ",
        "\u00ad": None,
        "\u200b": None,
    }
)

_SENTENCE_TOKENS = 200
"""The longest stretch that is translated at once; opus-mt has positions for 512 tokens."""
_BATCH_TOKENS = 2048
_CHUNK_CHARACTERS = 200_000
"""Characters of posts that are worked on at a time."""
_LONGEST_RATIO, _LONGEST_EXTRA = 2, 10
"""A translation has at most so many tokens a token of the source, and so many more: a model that never ends
its sentence would cost minutes."""


class Language:
    """One language's model."""

    def __init__(self, folder: Path, prefix: str | None) -> None:
        # Its threads share the weights, each with a batch of its own.
        self._model = ctranslate2.Translator(
            str(folder), device="cpu", inter_threads=threads(), intra_threads=1
        )
        self._pieces = SentencePieceProcessor(model_file=str(folder / "source.spm"))
        self._prefix = [prefix] if prefix else []

    def translate(self, sentences: Iterable[str]) -> dict[str, str]:
        """The translation of each distinct sentence; of one that the model has nothing to say to, itself."""
        distinct = list(dict.fromkeys(sentences))
        parts: list[list[str]] = []
        owners: list[int] = []
        plain = [" ".join(each.translate(_PUNCTUATION).split()) for each in distinct]
        for owner, pieces in enumerate(self._pieces.encode(plain, out_type=str)):
            for part in _cut(pieces):
                parts.append(part)
                owners.append(owner)
        translated: list[list[str]] = [[] for _ in parts]
        pending = [(batch, self._start([parts[at] for at in batch])) for batch in _alike(parts)]
        for batch, results in pending:
            for at, result in zip(batch, results, strict=True):
                translated[at] = result.result().hypotheses[0]
        texts: list[list[str]] = [[] for _ in distinct]
        for owner, tokens in zip(owners, translated, strict=True):
            known = (token for token in tokens if token != _UNKNOWN)
            texts[owner].append("".join(known).replace(_SPACE, " ").strip())
        return {
            sentence: " ".join(filter(None, text)) or sentence
            for sentence, text in zip(distinct, texts, strict=True)
        }

    def _start(self, parts: Sequence[list[str]]) -> list[ctranslate2.AsyncTranslationResult]:
        longest = max(map(len, parts))
        return list(
            self._model.translate_batch(
                [[*self._prefix, *part, _END] for part in parts],
                beam_size=1,
                max_decoding_length=_LONGEST_RATIO * longest + _LONGEST_EXTRA,
                asynchronous=True,
            )
        )


@dataclass
class Model:
    """The languages of an artifact; those in use are kept within a limit of memory."""

    folders: dict[str, tuple[Path, str | None]]
    limit: int
    """Bytes of model files that may be loaded at a time; one language is loaded whatever its size."""
    loaded: OrderedDict[str, Language] = field(default_factory=OrderedDict)
    loads: int = 0
    """How many times a language was loaded."""

    def language(self, name: str) -> Language:
        """The model of a language, loaded where it is not; those longest unused make room for it."""
        if name not in self.loaded:
            while self.loaded and sum(map(self.size, [*self.loaded, name])) > self.limit:
                self.loaded.popitem(last=False)
            self.loaded[name] = Language(*self.folders[name])
            self.loads += 1
        self.loaded.move_to_end(name)
        return self.loaded[name]

    def size(self, name: str) -> int:
        """Bytes of a language's files."""
        return sum(path.stat().st_size for path in self.folders[name][0].iterdir())


def model_fn(model_dir: str) -> Model:
    """Read what languages there are; raises what a missing or broken file raises.

    OPINION_TRANSLATOR_MIB says how many MiB of models a worker keeps; by default they may take half of its
    memory.
    """
    folder = Path(model_dir)
    folders = {}
    for language, settings in json.loads((folder / "translator.json").read_text())["languages"].items():
        path = folder / settings["folder"]
        for name in ("model.bin", "config.json", "shared_vocabulary.json", "source.spm"):
            if not (path / name).is_file():
                raise FileNotFoundError(f"the model of {language} has no {name} in {settings['folder']}")
        folders[language] = path, settings.get("prefix")
    given = os.environ.get("OPINION_TRANSLATOR_MIB")
    return Model(folders, int(given) * 2**20 if given else worker_memory() // 2)


def predict_fn(data: list[dict[str, Any]], model: Model) -> list[dict[str, Any]]:
    """Translate what `input_fn` gave; answers are in its order, records with an `error` passed on.

    Language by language, so that none is loaded twice for one request.
    """
    answers = [_unable(record, model) for record in data]
    by_language: dict[str, list[int]] = {}
    for position, answer in enumerate(answers):
        if answer is None:
            by_language.setdefault(data[position]["lang"], []).append(position)
    # Those that are loaded come first: the others may push them out.
    for language in sorted(by_language, key=lambda name: (name not in model.loaded, name)):
        positions = by_language[language]
        texts = [html.unescape(data[position]["text"]) for position in positions]
        for chunk in batches([len(text) for text in texts], _CHUNK_CHARACTERS):
            translated = translate([texts[at] for at in chunk], model.language(language))
            for at, text in zip(chunk, translated, strict=True):
                position = positions[at]
                answers[position] = {"id": data[position]["id"], "translated_text": text}
    return [answer for answer in answers if answer is not None]


def translate(texts: Sequence[str], language: Language) -> list[str]:
    """Each post in English, with what is no language as it was."""
    split = [_LINES.split(text) for text in texts]
    lines = dict.fromkeys(line for post in split for line in post[::2])
    cores = {line: _core(line) for line in lines}
    whole = {core for _, core, _ in cores.values() if core}
    found = _joined(whole, language, _EMOJIS)
    damaged = {
        core
        for core in whole
        if (names := _NAMES.findall(core)) and Counter(names) != Counter(_NAMES.findall(found[core]))
    }
    found |= _joined(damaged, language, _KEPT)
    english = {
        line: _glue([lead, found[core], trail]) if core else line
        for line, (lead, core, trail) in cores.items()
    }
    return ["".join(part if at % 2 else english[part] for at, part in enumerate(post)) for post in split]


def _unable(record: dict[str, Any], model: Model) -> dict[str, Any] | None:
    """Why a record cannot be translated, as its answer; None where it can."""
    if "error" in record:
        return record
    if record["lang"] not in model.folders:
        return {"id": record["id"], "error": f"no model for {record['lang'] or 'a text without a language'}"}
    return None


def _core(line: str) -> tuple[str, str, str]:
    """A line cut into what is to be translated and what stands before and behind it; "" where nothing is."""
    parts = _KEPT.split(line)
    words = [at for at in range(0, len(parts), 2) if _WORD.search(parts[at])]
    if not words:
        return line, "", ""
    first, last = words[0], words[-1]
    core = "".join(parts[first : last + 1])
    lead = core[: len(core) - len(core.lstrip())]
    trail = core[len(core.rstrip()) :]
    return "".join(parts[:first]) + lead, core.strip(), trail + "".join(parts[last + 1 :])


def _joined(cores: Iterable[str], language: Language, kept: re.Pattern[str]) -> dict[str, str]:
    """Each core's translation, sentence by sentence, with what `kept` finds as it stands."""
    plans = {core: list(_segments(core, kept)) for core in cores}
    english = language.translate(text for plan in plans.values() for text, is_sentence in plan if is_sentence)
    return {
        core: _glue(english[text] if is_sentence else text for text, is_sentence in plan)
        for core, plan in plans.items()
    }


def _segments(core: str, kept: re.Pattern[str]) -> Iterator[tuple[str, bool]]:
    """A core in pieces, each with whether it is a sentence; their texts joined are the core."""
    for number, part in enumerate(kept.split(core)):
        if number % 2:
            yield part, False
            continue
        for at, sentence in enumerate(_SENTENCES.split(part)):
            text = sentence.strip()
            if at % 2 or not _WORD.search(text):
                yield sentence, False
                continue
            begin = sentence.index(text)
            yield sentence[:begin], False
            yield text, True
            yield sentence[begin + len(text) :], False


def _glue(parts: Iterable[str]) -> str:
    """The parts in a row, with a space where two would grow together into another word, handle or link."""
    result = ""
    for part in parts:
        if not part:
            continue
        if result and (
            (_GLUED.match(result[-1]) and (_GLUED.match(part) or _NAMES.match(part)))
            or (result[-1] in ".!?" and _GLUED.match(part))
        ):
            result += " "
        result += part
    return result


def _cut(pieces: list[str]) -> Iterator[list[str]]:
    """The pieces of a sentence in stretches that the model can take, cut between words if there are any."""
    begin = 0
    while len(pieces) - begin > _SENTENCE_TOKENS:
        end = begin + _SENTENCE_TOKENS
        at = next((at for at in range(end, begin, -1) if pieces[at].startswith(_SPACE)), end)
        yield pieces[begin:at]
        begin = at
    if begin < len(pieces):
        yield pieces[begin:]


def _alike(parts: Sequence[Sequence[str]]) -> Iterator[list[int]]:
    """Batches of like length: none is so much longer than another that it would be let go on for too long."""
    lengths = [1 + len(part) for part in parts]
    for batch in batches(lengths, _BATCH_TOKENS):
        begin = 0
        for at, position in enumerate(batch):
            if 2 * lengths[position] < lengths[batch[begin]]:
                yield batch[begin:at]
                begin = at
        yield batch[begin:]
