"""Requests of a REST-JSON service, read and checked by botocore's own model of it.

boto3 checks types and what is required; lengths, patterns and choices are the service's to reject.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote

import botocore.session
from botocore import xform_name
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

type Json = dict[str, Any]


class ServiceError(Exception):
    """A request that the service rejects: code, message, HTTP status, and the error's further members."""

    def __init__(self, code: str, message: str, status: int | None = None, **members: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status or _status(code)
        self.members = members


@dataclass(frozen=True)
class Request:
    """An operation's name in Python's form, and its parameters by the names of the API reference."""

    operation: str
    parameters: Json


@cache
def _model() -> ServiceModel:
    return botocore.session.get_session().get_service_model("quicksight")


def _status(code: str) -> int:
    if code not in _model().shape_names:
        return 400
    status: int = _model().shape_for(code).metadata.get("error", {}).get("httpStatusCode", 400)
    return status


@cache
def _routes() -> tuple[tuple[str, re.Pattern[str], OperationModel], ...]:
    routes = []
    for name in _model().operation_names:
        operation = _model().operation_model(name)
        path = operation.http["requestUri"].split("?")[0]
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
        routes.append((operation.http["method"], re.compile(f"{pattern}/?"), operation))
    # The more of a path is fixed, the more it says.
    return tuple(sorted(routes, key=lambda route: (route[1].groups, -len(route[1].pattern))))


def named(method: str, raw_path: str) -> tuple[str, dict[str, str]]:
    """The operation of a request and the names in its path; the operation is "" if there is none."""
    operation, found = _operation(method, raw_path)
    return (operation.name, found.groupdict()) if operation and found else ("", {})


def _operation(method: str, raw_path: str) -> tuple[OperationModel | None, re.Match[str] | None]:
    matches = (
        (operation, found)
        for verb, pattern, operation in _routes()
        if verb == method and (found := pattern.fullmatch(raw_path))
    )
    return next(matches, (None, None))


def read(method: str, raw_path: str, query: str, body: bytes) -> Request:
    """The request in these parts of an HTTP request; raises `ServiceError` for one that is not valid."""
    operation, found = _operation(method, raw_path)
    if operation is None or found is None:
        raise ServiceError("UnknownOperationException", f"{method} {raw_path} is not an operation", 404)
    shape = operation.input_shape
    if not isinstance(shape, StructureShape):
        return Request(xform_name(operation.name), {})
    try:
        content = json.loads(body) if body else {}
    except ValueError as error:
        raise ServiceError("SerializationException", f"The body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ServiceError("SerializationException", "The body is not a JSON object")
    queried = parse_qs(query, keep_blank_values=True)
    parameters: Json = {}
    for name, member in shape.members.items():
        wire = member.serialization.get("name", name)
        match member.serialization.get("location"):
            case "uri":
                value: Any = unquote(found[wire])
                parameters[name] = int(value) if member.type_name in ("integer", "long") else value
            case "querystring":
                if wire in queried:
                    parameters[name] = _queried(member, queried[wire])
            case _:
                if content.get(wire) is not None:
                    parameters[name] = content[wire]
    problems = list(_problems(shape, parameters, ""))
    if problems:
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected"
        raise ServiceError("ValidationException", f"{count}: {'; '.join(problems[:10])}")
    return Request(xform_name(operation.name), parameters)


def _queried(shape: Shape, values: list[str]) -> Any:
    if isinstance(shape, ListShape):
        return values
    if shape.type_name in ("integer", "long"):
        if not values[0].lstrip("-").isdecimal():
            raise ServiceError("SerializationException", f"'{values[0]}' is no number")
        return int(values[0])
    return values[0] == "true" if shape.type_name == "boolean" else values[0]


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, str),
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
}


def _problems(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """What is wrong with a value, in the service's words."""
    expected = _TYPES.get(shape.type_name)
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
        raise ServiceError("SerializationException", f"{path or 'The request'} is no {shape.type_name}")
    if isinstance(shape, StructureShape):
        for name in shape.required_members:
            if value.get(name) is None:
                yield _problem("null", _joined(path, name), "Member must not be null")
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from _problems(member, value[name], _joined(path, name))
        return
    yield from _bounds(shape, value, path)
    if isinstance(shape, ListShape):
        for index, item in enumerate(value):
            yield from _problems(shape.member, item, f"{path}.{index + 1}.member")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            for problem in _problems(shape.key, key, path):
                yield f"Map keys must satisfy constraint: [{problem}]"
            yield from _problems(shape.value, item, f"{path}.{key}.member")


def _bounds(shape: Shape, value: Any, path: str) -> Iterator[str]:
    metadata = shape.metadata
    if choices := metadata.get("enum"):
        if value not in choices:
            yield _problem(value, path, f"Member must satisfy enum value set: [{', '.join(choices)}]")
        return
    if "pattern" in metadata and isinstance(value, str) and not re.fullmatch(metadata["pattern"], value):
        yield _problem(value, path, f"Member must satisfy regular expression pattern: {metadata['pattern']}")
    sized = isinstance(value, Sized)
    size = len(value) if sized else value
    if not isinstance(size, int | float) or isinstance(size, bool):
        return
    what = "have length" if sized else "have value"
    if "min" in metadata and size < metadata["min"]:
        yield _problem(value, path, f"Member must {what} greater than or equal to {metadata['min']}")
    if "max" in metadata and size > metadata["max"]:
        yield _problem(value, path, f"Member must {what} less than or equal to {metadata['max']}")


def _problem(value: Any, path: str, constraint: str) -> str:
    shown = str(value) if len(str(value)) <= 100 else f"{str(value)[:100]}..."
    return f"Value '{shown}' at '{path}' failed to satisfy constraint: {constraint}"


def _joined(path: str, name: str) -> str:
    lower = name[0].lower() + name[1:]
    return f"{path}.{lower}" if path else lower


def visit(
    shape_name: str, value: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Json, tuple[str, ...]]]:
    """Every structure below a value of that shape: shape's name, content and path."""
    yield from _visit(_model().shape_for(shape_name), value, path)


def _visit(shape: Shape, value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Json, tuple[str, ...]]]:
    if isinstance(shape, StructureShape):
        yield shape.name, value, path
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from _visit(member, value[name], (*path, name))
    elif isinstance(shape, ListShape):
        for index, item in enumerate(value):
            yield from _visit(shape.member, item, (*path, str(index)))
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from _visit(shape.value, item, (*path, key))


def moment(value: Any) -> float | None:
    """A timestamp parameter as seconds since 1970."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    return None if value is None else float(value)
