"""Writes a checkpoint's tokenizer as one ``tokenizer.json`` of the tokenizers library."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.models import sentencepiece_model
from tools.models.errors import PackError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BEGIN, _PAD, _END, _UNKNOWN, _MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"


def convert(source: Path, target: Path) -> None:
    """Writes a hub folder's tokenizer; raises `PackError` if it has none of the known kinds.

    That is its own ``tokenizer.json``, else RoBERTa's ``vocab.json`` and ``merges.txt``, else XLM-RoBERTa's
    ``sentencepiece.bpe.model``. It puts ``<s>`` before and ``</s>`` behind a text, and cuts and pads nothing.
    """
    from tokenizers import Tokenizer

    if (source / "tokenizer.json").is_file():
        tokenizer = _read(lambda: Tokenizer.from_file(str(source / "tokenizer.json")), source)
    elif (source / "vocab.json").is_file() and (source / "merges.txt").is_file():
        tokenizer = _byte_pairs(source)
    elif (source / "sentencepiece.bpe.model").is_file():
        tokenizer = _pieces(source)
    else:
        raise PackError(
            f"{source} has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt nor"
            " sentencepiece.bpe.model is there."
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    target.write_text(tokenizer.to_str(), encoding="utf-8")


def unigram(pieces: list[tuple[str, float]], normalizer: Any) -> Tokenizer:
    """XLM-RoBERTa's tokenizer of numbered pieces, which begin with ``<s> <pad> </s> <unk>``."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

    names = [piece for piece, _ in pieces]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=names.index(_UNKNOWN)))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BEGIN} $A {_END}",
        special_tokens=[(name, names.index(name)) for name in (_BEGIN, _END)],
    )
    special = [name for name in (_BEGIN, _PAD, _END, _UNKNOWN, _MASK) if name in names]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in special])
    return tokenizer


def _read[T](read: Callable[[], T], source: Path) -> T:
    try:
        return read()
    except Exception as error:  # the libraries raise it bare for a broken file
        raise PackError(f"{source} has a tokenizer that cannot be read: {error}.") from error


def _byte_pairs(source: Path) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    vocabulary, merges = source / "vocab.json", source / "merges.txt"
    numbers = _read(lambda: json.loads(vocabulary.read_bytes()), source)
    missing = {_BEGIN, _END} - set(numbers)
    if missing:
        raise PackError(f"{vocabulary} is not a RoBERTa vocabulary: it has no {', '.join(sorted(missing))}.")
    tokenizer = Tokenizer(_read(lambda: models.BPE.from_file(str(vocabulary), str(merges)), source))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BEGIN} $A {_END}", special_tokens=[(name, numbers[name]) for name in (_BEGIN, _END)]
    )
    special = [name for name in (_BEGIN, _PAD, _END, _UNKNOWN) if name in numbers]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in special])
    return tokenizer


def _pieces(source: Path) -> Tokenizer:
    """As transformers' `XLMRobertaConverter` reads the SentencePiece model, numbered as fairseq does."""
    from tokenizers import Regex, normalizers

    model = sentencepiece_model.model()
    path = source / "sentencepiece.bpe.model"
    _read(lambda: model.ParseFromString(path.read_bytes()), source)
    special = [(name, 0.0) for name in (_BEGIN, _PAD, _END, _UNKNOWN)]
    # SentencePiece's own first three are <unk>, <s> and </s>.
    pieces = [*special, *((piece.piece, piece.score) for piece in model.pieces[3:]), (_MASK, 0.0)]
    steps: list[Any] = [normalizers.Replace(Regex(" {2,}"), " ")]
    if model.normalizer_spec.precompiled_charsmap:
        steps.insert(0, normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap))
    return unigram(pieces, normalizers.Sequence(steps))
