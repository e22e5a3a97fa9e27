"""Serves one model as SageMaker's PyTorch inference container does; a program of its own.

``python container.py --model-dir DIR`` loads ``DIR/code/inference.py`` (or what SAGEMAKER_PROGRAM names),
prints ``ready PORT`` and answers ``GET /ping`` and ``POST /invocations`` on the loopback. The script may
define ``model_fn``, ``input_fn``, ``predict_fn`` and ``output_fn``, or ``transform_fn`` in place of the last
three, each with ``context`` as an optional last parameter; what it leaves out is as in the SageMaker Python
SDK's "Deploy PyTorch models", as far as that needs no torch. It ends when its standard input ends.

It imports nothing of the project, and runs isolated, so that a model gets only what lies in its archive.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

JSON = "application/json"


class UnsupportedFormatError(Exception):
    """A content type that the default functions cannot read or write."""


def default_input_fn(data: bytes, content_type: str) -> Any:
    """JSON becomes Python objects, text becomes str; raises `UnsupportedFormatError` otherwise."""
    if content_type == JSON:
        return json.loads(data)
    if content_type in ("text/plain", "text/csv"):
        return data.decode()
    raise UnsupportedFormatError(f"Content type {content_type} is not supported without an input_fn")


def default_predict_fn(data: Any, model: Any) -> Any:
    """Calls the model."""
    return model(data)


def default_output_fn(prediction: Any, accept: str) -> tuple[bytes | str, str]:
    """JSON where it is asked for or nothing is, text as it stands; raises `UnsupportedFormatError`."""
    if isinstance(prediction, (bytes, str)):
        return prediction, accept
    if accept in (JSON, "*/*"):
        return json.dumps(prediction), JSON
    raise UnsupportedFormatError(f"Accept type {accept} is not supported without an output_fn")


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls with a trailing context of None where the function takes one more parameter than is given."""
    parameters = inspect.signature(function).parameters.values()
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return function(*arguments, None) if len(positional) > len(arguments) else function(*arguments)


class Handler:
    """The model with its functions."""

    def __init__(self, model_dir: Path) -> None:
        script = _load(model_dir)
        self._input = getattr(script, "input_fn", default_input_fn)
        self._predict = getattr(script, "predict_fn", default_predict_fn)
        self._output = getattr(script, "output_fn", default_output_fn)
        self._transform = getattr(script, "transform_fn", None)
        # One worker: a model server's worker is a process that takes one request at a time.
        self._lock = threading.Lock()
        self._model = _call(script.model_fn, str(model_dir))

    def invoke(self, data: bytes, content_type: str, accept: str) -> tuple[bytes, str]:
        """The answer to one payload and its media type."""
        with self._lock:
            if self._transform:
                answer = _call(self._transform, self._model, data, content_type, accept)
            else:
                prediction = _call(self._predict, _call(self._input, data, content_type), self._model)
                answer = _call(self._output, prediction, accept)
        body, media = answer if isinstance(answer, tuple) else (answer, accept)
        return body.encode() if isinstance(body, str) else bytes(body), media


def _load(model_dir: Path) -> ModuleType:
    code = model_dir / "code"
    path = code / os.environ.get("SAGEMAKER_PROGRAM", "inference.py")
    if not path.is_file():
        raise FileNotFoundError(f"model.tar.gz holds no code/{path.name}")
    sys.path.insert(0, str(code))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"code/{path.name} is no Python module")
    script = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = script
    spec.loader.exec_module(script)
    if not hasattr(script, "model_fn"):
        raise AttributeError(
            f"code/{path.name} has no model_fn; the default one needs torch, not offered here"
        )
    return script


def _server(handler: Handler) -> ThreadingHTTPServer:
    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self._by_a_page():
                self._answer(403, b"", JSON)
                return
            self._answer(200 if self.path == "/ping" else 404, b"", JSON)

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self._by_a_page():
                self._answer(403, b"", JSON)
                return
            if self.path != "/invocations":
                self._answer(404, b"", JSON)
                return
            content_type = self.headers.get("Content-Type") or "application/octet-stream"
            accept = self.headers.get("Accept") or "*/*"
            try:
                body, media = handler.invoke(data, content_type, accept)
            except UnsupportedFormatError as error:
                self._answer(415, str(error).encode(), "text/plain")
            except Exception as error:
                traceback.print_exc()
                self._answer(500, f"{type(error).__name__}: {error}".encode(), "text/plain")
            else:
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
    sys.stdin.buffer.read()
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
