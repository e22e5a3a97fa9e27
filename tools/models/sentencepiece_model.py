"""SentencePiece's file format, as far as a conversion needs it (``sentencepiece_model.proto``).

The library's own generated classes ask for a later protobuf than the sagemaker SDK allows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

NORMAL, UNKNOWN, CONTROL = 1, 2, 3
"""Kinds of pieces."""


def model() -> Any:
    """An empty ``ModelProto``: ``pieces`` (piece, score, type), ``trainer_spec``, ``normalizer_spec``."""
    return _class()()


@cache
def _class() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="x_opinion/sentencepiece_model.proto", package="x_opinion", syntax="proto2"
    )

    def message(name: str, *fields: tuple[str, int, int, str]) -> None:
        described = file.message_type.add(name=name)
        for own, number, kind, type_name in fields:
            label = field.LABEL_REPEATED if own == "pieces" else field.LABEL_OPTIONAL
            described.field.add(name=own, number=number, type=kind, label=label, type_name=type_name or None)

    message(
        "Piece",
        ("piece", 1, field.TYPE_STRING, ""),
        ("score", 2, field.TYPE_FLOAT, ""),
        ("type", 3, field.TYPE_INT32, ""),
    )
    message("TrainerSpec", ("model_type", 3, field.TYPE_INT32, ""), ("vocab_size", 4, field.TYPE_INT32, ""))
    message(
        "NormalizerSpec",
        ("name", 1, field.TYPE_STRING, ""),
        ("precompiled_charsmap", 2, field.TYPE_BYTES, ""),
    )
    message(
        "ModelProto",
        ("pieces", 1, field.TYPE_MESSAGE, ".x_opinion.Piece"),
        ("trainer_spec", 2, field.TYPE_MESSAGE, ".x_opinion.TrainerSpec"),
        ("normalizer_spec", 3, field.TYPE_MESSAGE, ".x_opinion.NormalizerSpec"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("x_opinion.ModelProto"))
