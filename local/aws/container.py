"""Serves one model as SageMaker's PyTorch inference container does; a program of its own.

``python container.py --model-dir DIR`` loads ``DIR/code/inference.py`` (or what SAGEMAKER_PROGRAM names),
prints ``ready PORT`` and answers ``GET /ping`` and ``POST /invocations`` on the loopback. The script defines
``model_fn``, and ``transform_fn`` or ``input_fn``, ``predict_fn`` and ``output_fn``, each with ``context`` as
an optional last parameter; the container's defaults need torch, which is not offered here. It ends when its
standard input ends.

What is not said by a handler is as in AWS's own code, sagemaker-inference's `Transformer` (a contract test
compares them), and in TorchServe in front of it: the limits of a request's and an answer's size, and the time
after which a worker is given up (https://docs.pytorch.org/serve/configuration.html).

It imports nothing of the project, and runs isolated, so that a model gets only what lies in its archive.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

JSON = "application/json"
_TEXTS = (JSON, "text/csv")
"""The content types that a handler gets as text; of any other it gets the bytes."""
_PARTS = ("input_fn", "predict_fn", "output_fn")
"""What does a transform_fn's work in three steps."""
_LARGEST = 6_553_500
"""Bytes of a request or an answer that TorchServe takes by default."""
_PATIENCE = 60
"""Seconds after which the toolkit has TorchServe give up a worker by default."""


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls with a trailing context of None if the function takes one more parameter than is given."""
    taken = len(inspect.signature(function).parameters)
    if taken not in (len(arguments), len(arguments) + 1):
        raise TypeError(f"{function.__name__} takes {taken} arguments but {len(arguments)} were given.")
    return function(*arguments, None) if taken > len(arguments) else function(*arguments)


class Handler:
    """The model with its functions."""

    def __init__(self, model_dir: Path) -> None:
        self._script = _load(model_dir)
        self._accept = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON)
        # One worker: a model server's worker is a process that takes one request at a time.
        self._lock = threading.Lock()
        self._patience = int(os.environ.get("SAGEMAKER_MODEL_SERVER_TIMEOUT", _PATIENCE))
        _required(self._script, ["model_fn"])
        self._model = _call(self._script.model_fn, str(model_dir))
        if not hasattr(self._script, "transform_fn"):
            _required(self._script, _PARTS)

    def invoke(self, data: bytearray, content_type: str | None, accept: str | None) -> tuple[bytes, str]:
        """The answer to one payload and its media type; ends the process where it takes too long."""
        if not accept or accept == "*/*":
            accept = self._accept
        with self._lock:
            timer = threading.Timer(self._patience, _give_up, [self._patience])
            timer.start()
            try:
                answer = self._transform(
                    data.decode() if content_type in _TEXTS else data, content_type, accept
                )
            finally:
                timer.cancel()
        body, media = answer if isinstance(answer, tuple) else (answer, accept)
        return body.encode() if isinstance(body, str) else bytes(body), media

    def _transform(self, data: str | bytearray, content_type: str | None, accept: str) -> Any:
        script = self._script
        if hasattr(script, "transform_fn"):
            return _call(script.transform_fn, self._model, data, content_type, accept)
        prediction = _call(script.predict_fn, _call(script.input_fn, data, content_type), self._model)
        return _call(script.output_fn, prediction, accept)


def _give_up(patience: int) -> None:
    print(f"the worker gave no answer within {patience} s (SAGEMAKER_MODEL_SERVER_TIMEOUT)", file=sys.stderr)
    os._exit(1)


def _load(model_dir: Path) -> ModuleType:
    code = model_dir / "code"
    path = code / os.environ.get("SAGEMAKER_PROGRAM", "inference.py")
    if not path.is_file():
        raise FileNotFoundError(f"model.tar.gz holds no code/{path.name}")
    sys.path.insert(0, str(code))
    script = importlib.import_module(path.stem)
    if hasattr(script, "transform_fn") and any(hasattr(script, name) for name in _PARTS):
        raise ValueError(
            "Cannot use transform_fn implementation in conjunction with "
            "input_fn, predict_fn, and/or output_fn implementation"
        )
    return script


def _required(script: ModuleType, names: Iterable[str]) -> None:
    for name in names:
        if not hasattr(script, name):
            raise AttributeError(
                f"code/{script.__name__}.py has no {name}; the default one needs torch, not offered here"
            )


def _server(handler: Handler) -> ThreadingHTTPServer:
    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self._by_a_page():
                self._answer(403, b"", JSON)
                return
            self._answer(200 if self.path == "/ping" else 404, b"", JSON)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            data = bytearray(self.rfile.read(length))
            if self._by_a_page():
                self._answer(403, b"", JSON)
                return
            if self.path != "/invocations":
                self._answer(404, b"", JSON)
                return
            if length > _LARGEST:
                self._answer(413, b"Request size exceeds max_request_size", "text/plain")
                return
            try:
                body, media = handler.invoke(
                    data, self.headers.get("Content-Type"), self.headers.get("Accept")
                )
            except Exception as error:
                # Whatever a handler raises, AWS's Transformer answers 500 with the message and where it was.
                trace = traceback.format_exc()
                print(trace, file=sys.stderr)
                self._answer(500, f"{error}\n{trace}".encode(), "text/plain")
                return
            if len(body) > _LARGEST:
                self._answer(500, b"Response size exceeds max_response_size", "text/plain")
                return
            self._answer(200, body, media)

        def _by_a_page(self) -> bool:
            """Whether a browser asks for a web page; SageMaker's requests have neither of these headers."""
            port = self.connection.getsockname()[1]
            foreign = self.headers.get_all("Host") != [f"127.0.0.1:{port}"]
            return foreign or "Origin" in self.headers or "Sec-Fetch-Site" in self.headers

        def _answer(self, status: int, body: bytes, media: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing of answered requests."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Requests)


def _end_with_parent() -> None:
    # Not by sys.stdin, whose lock Python waits for in vain when a model that does not load ends it.
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Loads the model and serves it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-dir", type=Path, required=True)
    model_dir = parser.parse_args().model_dir
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # What the model prints belongs into the log.
    parent = os.dup(1)
    os.dup2(2, 1)
    server = _server(Handler(model_dir))
    os.write(parent, b"ready %d\n" % server.server_address[1])
    os.close(parent)
    server.serve_forever()


if __name__ == "__main__":
    main()
