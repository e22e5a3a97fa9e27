"""The wheel of the training code: a cluster has it and nothing else of this repository."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import include
from include.training import wheel

ROOT = Path(include.__path__[0]).parent


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules of this repository that are imported when the code runs."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                continue
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(str(module), names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case _:
                yield from imports(node)


def files(module: str) -> list[str]:
    """Where the module's code is; nowhere if it is a name in a module, or not of this repository."""
    path = module.replace(".", "/")
    return [file for file in (f"{path}.py", f"{path}/__init__.py") if (ROOT / file).is_file()]


@pytest.mark.parametrize("path", sorted(path for path in wheel.contents() if path.endswith(".py")))
def test_what_a_module_of_the_wheel_imports_is_in_the_wheel(path: str) -> None:
    found = imports(ast.parse(wheel.contents()[path]))
    needed = {file for module in found if module.startswith("include") for file in files(module)}
    assert needed <= wheel.contents().keys()
