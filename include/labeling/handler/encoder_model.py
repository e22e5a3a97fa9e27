"""An encoder classifier (RoBERTa, XLM-R, E5) in ONNX Runtime.

Its folder holds `model.onnx`, `tokenizer.json` and `encoder.json`, which says how the model was trained to
see a text: what stands for handles and links, what goes before it, and how many tokens it reads.

Texts go through the model in batches of like length, so that little is computed for padding, several batches
in parallel on the container's CPUs. A text's answer does not depend on what else is in its batch, but
for its last digit.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from serving import CLASSES, batches, threads  # type: ignore[import-not-found]
from tokenizers import Tokenizer

_HANDLE = re.compile(r"(?<![\w@])@\w+")
_LINK = re.compile(r"https?://\S+")
_BATCH_TOKENS = 256
"""Tokens of a batch, padding included: its activations are what a worker's memory is spent on."""
_CHUNK_CHARACTERS = 200_000
"""Characters tokenized at a time: a token costs far more memory than its text."""
_TOKEN_CHARACTERS = 64
"""A text is cut at so many characters a token before it is tokenized; no tokenizer makes tokens so long."""


class ModelFormatError(ValueError):
    """The artifact's files do not fit each other."""


@dataclass(frozen=True)
class EncoderModel:
    """The session with its tokenizer, and how the model was trained to see a text."""

    session: onnxruntime.InferenceSession
    tokenizer: Tokenizer
    columns: tuple[int, ...]
    """Where negative, neutral and positive stand among the logits."""
    max_tokens: int
    """What the model reads of a text, its special tokens included; the rest is cut."""
    handle: str | None
    link: str | None
    prefix: str
    padding: int
    pool: ThreadPoolExecutor = field(repr=False)

    def normalized(self, text: str) -> str:
        """The text as the model was trained to see it, on one line."""
        text = html.unescape(text)
        if self.handle is not None:
            text = _HANDLE.sub(self.handle, text)
        if self.link is not None:
            text = _LINK.sub(self.link, text)
        return (self.prefix + " ".join(text.split()))[: self.max_tokens * _TOKEN_CHARACTERS]

    def probabilities(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Texts x 3: negative, neutral, positive; each row adds up to 1."""
        result = np.empty((len(texts), len(CLASSES)))
        for chunk in batches([1 + len(text) for text in texts], _CHUNK_CHARACTERS):
            result[chunk] = self._chunk([texts[position] for position in chunk])
        return result

    def _chunk(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        encoded = self.tokenizer.encode_batch_fast([self.normalized(text) for text in texts])
        ids = [encoding.ids for encoding in encoded]
        result = np.empty((len(texts), len(CLASSES)))
        parts = list(batches([len(each) for each in ids], _BATCH_TOKENS))
        logits = self.pool.map(lambda part: self._logits([ids[position] for position in part]), parts)
        for part, answer in zip(parts, logits, strict=True):
            odds = np.exp(answer - answer.max(axis=1, keepdims=True))
            result[part] = odds / odds.sum(axis=1, keepdims=True)
        return result

    def _logits(self, ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
        shape = len(ids), max(map(len, ids))
        inputs, mask = np.full(shape, self.padding, np.int64), np.zeros(shape, np.int64)
        for row, each in enumerate(ids):
            inputs[row, : len(each)] = each
            mask[row, : len(each)] = 1
        (logits,) = self.session.run(["logits"], {"input_ids": inputs, "attention_mask": mask})
        return np.asarray(logits, np.float64)[:, self.columns]


def load(folder: Path) -> EncoderModel:
    """Load an encoder from its folder; raises `ModelFormatError`, or what a missing or broken file raises."""
    settings = json.loads((folder / "encoder.json").read_text())
    if sorted(settings["labels"]) != sorted(CLASSES):
        raise ModelFormatError(f"the labels are {', '.join(CLASSES)}, not {settings['labels']}")
    options = onnxruntime.SessionOptions()
    # Batches run in parallel instead: that needs no waiting for the slowest part of each operator.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Batches differ in shape: memory planned for one is no good for the next, and would pile up.
    options.enable_mem_pattern = options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings["max_tokens"])
    padding = next((found for name in ("<pad>", "[PAD]") if (found := tokenizer.token_to_id(name))), 0)
    return EncoderModel(
        session=onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        ),
        tokenizer=tokenizer,
        columns=tuple(settings["labels"].index(name) for name in CLASSES),
        max_tokens=settings["max_tokens"],
        handle=settings["handle"],
        link=settings["link"],
        prefix=settings["prefix"],
        padding=padding,
        pool=ThreadPoolExecutor(threads()),
    )
