"""The tiny checkpoints answer what was foretold, also converted and quantized."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import numpy as np
import onnxruntime
import pytest
import sentencepiece
from tokenizers import Tokenizer

from tools.models import marian, roberta, tokenizer


def translated(model: Path, texts: list[str], beam: int = 1) -> list[str]:
    translator = ctranslate2.Translator(str(model))
    source = sentencepiece.SentencePieceProcessor(model_file=str(model / "source.spm"))
    target = sentencepiece.SentencePieceProcessor(model_file=str(model / "target.spm"))
    pieces = [[*piece, "</s>"] for piece in source.encode(texts, out_type=str)]
    answers = translator.translate_batch(pieces, beam_size=beam, max_decoding_length=400)
    return [target.decode(answer.hypotheses[0]) for answer in answers]


@pytest.mark.parametrize("quantization", ["float32", "int8"])
@pytest.mark.parametrize("beam", [1, 4])
def test_a_dictionary_translates_word_by_word(
    hub: Path, tmp_path: Path, quantization: str, beam: int
) -> None:
    marian.convert(hub / "opus-mt-ru-en", tmp_path / "model", quantization)
    texts = ["люблю мир, ненавижу это!", "очень @user https://t.co/aB3 привет", "мир " * 120]
    assert translated(tmp_path / "model", texts, beam) == [
        "love peace, hate this!",
        "very @user https://t.co/aB3 привет",
        ("peace " * 120).strip(),
    ]


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta"])
@pytest.mark.parametrize("quantized", [False, True])
def test_a_classifier_follows_its_words(hub: Path, tmp_path: Path, kind: str, quantized: bool) -> None:
    roberta.convert(hub / kind, tmp_path / "model.onnx", quantized=quantized)
    tokenizer.convert(hub / kind, tmp_path / "tokenizer.json")
    texts = {
        "I love this": "positive",
        "this is terrible, I hate it!": "negative",
        "The meeting is on Monday": "neutral",
        "I love what they hate": "neutral",
        "люблю это": "positive",
        "word " * 60 + "awful": "negative",
    }
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    reader = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    found = {}
    for text in texts:
        read = reader.encode(text)
        inputs = {"input_ids": np.array([read.ids]), "attention_mask": np.array([read.attention_mask])}
        [[logits]] = session.run(["logits"], inputs)
        found[text] = roberta.labels(hub / kind)[int(logits.argmax())]
    assert found == texts
