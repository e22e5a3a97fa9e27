"""Answers requests by the serving code of AWS's PyTorch container: ``-m tests.models.aws_container DIR``.

That code is `sagemaker-pytorch-inference`, its handler service, and `sagemaker-inference` below it. In the
container TorchServe calls it, a program of Java; here this one does, by the same protocol: the body is a
bytearray, the headers are the request's, and what is returned is sent as TorchServe encodes it
(ts/protocol/otf_message_handler.py: a text as UTF-8, bytes as they are).

Requests come on the standard input as JSON, ``[[body, headers], ...]``, bodies as Latin-1.
"""

from __future__ import annotations

import json
import os
import sys
import types
from typing import Any


class Request:
    """One request's headers."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def get_request_properties(self) -> dict[str, str]:
        return self._headers


class Context:
    """What TorchServe tells a service of the model and of a request, and is told of the answer."""

    model_name = "model"

    def __init__(self, model_dir: str, headers: dict[str, str]) -> None:
        self.system_properties = {"model_dir": model_dir}
        self.request_processor = [Request(headers)]
        self.status = 200
        self.media = ""

    def set_response_status(self, code: int, phrase: str) -> None:
        self.status = code

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.media = value


def main() -> None:
    """Loads the model, answers, ends."""
    model_dir = sys.argv[1]
    # The defaults for what a handler leaves out need it; nothing else does.
    sys.modules.setdefault("torch", types.ModuleType("torch"))
    from sagemaker_pytorch_serving_container.handler_service import HandlerService

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    service = HandlerService()
    service.initialize(Context(model_dir, {}))
    found: list[tuple[int, str, str]] = []
    for body, headers in json.load(sys.stdin):
        context = Context(model_dir, headers)
        [answer] = service.handle([{"body": bytearray(body.encode("latin-1"))}], context)
        found.append((context.status, context.media, _encoded(answer).decode("latin-1")))
    json.dump(found, answers)
    answers.close()


def _encoded(answer: Any) -> bytes:
    if isinstance(answer, str):
        return answer.encode()
    return bytes(answer) if isinstance(answer, (bytes, bytearray)) else json.dumps(answer).encode()


if __name__ == "__main__":
    main()
