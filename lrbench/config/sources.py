"""The modules that code is made of: where they lie, what their text means, and what they import.

Comments, docstrings and layout mean nothing. Nothing is imported to find out.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from lrbench.config.faults import BadInput

SESSION = ("__main__", "__mp_main__")
"""Modules that cannot be imported by their names."""
INSTALLED = {"site-packages", "dist-packages"}
BUILD = re.compile(r"\+(cpu|cu\d+|rocm[\d.]+|xpu)$")
"""A package for another kind of device is the same version of it."""


def module_of(names: Mapping[str, Any]) -> str | None:
    """The module whose globals these are, if any."""
    name = names.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    return name if module is not None and vars(module) is names else None


def spec_of(name: str) -> ModuleSpec | None:
    """Where a module is or would be found. Imports nothing."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__spec__", None)
    parent = name.rpartition(".")[0]
    try:
        if not parent:
            return importlib.util.find_spec(name)
        above = spec_of(parent)
        places = above.submodule_search_locations if above else None
        return PathFinder.find_spec(name, list(places)) if places else None
    except (ImportError, ValueError, AttributeError):
        return None


def file_of(name: str) -> str | None:
    """The file of a module, if it has one."""
    spec = spec_of(name)
    return spec.origin if spec and spec.has_location else None


@cache
def _standard() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})


def is_standard(spec: ModuleSpec) -> bool:
    """Whether a module is Python's own."""
    if not spec.has_location or not spec.origin:
        return not spec.submodule_search_locations
    return not is_installed(spec.origin) and any(
        Path(spec.origin).resolve().is_relative_to(place) for place in _standard()
    )


def is_installed(file: str) -> bool:
    """Whether a file lies where packages are installed."""
    return bool(INSTALLED & set(Path(file).parts))


@cache
def versions_of(top: str) -> tuple[str, ...]:
    """The distributions that a package comes from, with their versions."""
    try:
        return (f"{top}=={BUILD.sub('', importlib.metadata.version(top))}",)
    except importlib.metadata.PackageNotFoundError:
        names = sorted(set(importlib.metadata.packages_distributions().get(top, ())))
        return tuple(f"{name}=={BUILD.sub('', importlib.metadata.version(name))}" for name in names)


def bytes_of(spec: ModuleSpec) -> bytes:
    """What lies in the file of a module, or in an archive under its name."""
    get: Any = getattr(spec.loader, "get_data", None)
    data: bytes = get(spec.origin) if get else Path(str(spec.origin)).read_bytes()
    return data


_read: dict[str, tuple[ModuleSpec, str]] = {}
"""What was read of the files of modules, and for which import of them."""


def text_of(name: str, spec: ModuleSpec) -> str:
    """The syntax of a module's file, or a digest of its bytes where it is no source.

    Raises: BadInput when the file is not what was imported.
    """
    file = str(spec.origin)
    data = bytes_of(spec)
    text = canonical(data) if file.endswith(".py") else hashlib.sha256(data).hexdigest()
    before = _read.get(file)
    if before and before[0] is spec and before[1] != text and name in sys.modules:
        raise BadInput(
            f"{file}: was edited after it was imported: start Python anew, or reload it, so that what is trained is "
            f"what is there."
        )
    _read[file] = (spec, text)
    return text


@lru_cache(maxsize=256)
def canonical(data: bytes) -> str:
    """A source file without comments, docstrings and layout: the same for every version of Python that reads it alike.

    >>> canonical(b"x = 1  # one") == canonical(b"x  =  1") != canonical(b"x = 2")
    True
    """
    try:
        parts: list[str] = []
        _dump(ast.parse(data), parts)
        return "".join(parts)
    except (SyntaxError, ValueError, RecursionError):
        return data.decode(errors="replace")


LEFT_OUT = ("ctx", "type_comment", "kind", "type_ignores")


def _dump(node: Any, parts: list[str]) -> None:
    if isinstance(node, ast.AST):
        parts.append(f"({type(node).__name__}")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == [] or name in LEFT_OUT:  # what a later Python adds is empty
                continue
            parts.append(f" {name}=")
            _dump(value, parts)
        if isinstance(node, ast.Constant) and node.value is None:
            parts.append("None")
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for item in node:
            if not _is_text(item):
                _dump(item, parts)
        parts.append("]")
    else:
        parts.append(repr(node))


def _is_text(node: Any) -> bool:
    """Whether a statement is a text and nothing else: a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@lru_cache(maxsize=256)
def imports_of(data: bytes, package: str) -> tuple[tuple[str, bool], ...]:
    """The modules that a source file imports, wherever in it, and of each whether it surely is one."""
    found: dict[str, bool] = {}
    try:
        nodes = list(ast.walk(ast.parse(data)))
    except (SyntaxError, ValueError):
        return ()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name: True for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            try:
                name = (
                    importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                    if node.level
                    else str(node.module)
                )
            except ImportError:
                continue
            found |= {name: True} | {
                f"{name}.{alias.name}": False for alias in node.names if f"{name}.{alias.name}" not in found
            }
        elif isinstance(node, ast.Call) and _is_import(node.func) and node.args:
            [first, *_] = node.args
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("."):
                found.setdefault(first.value, True)
    return tuple(found.items())


def _is_import(function: ast.expr) -> bool:
    name = (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
    return name in ("import_module", "__import__")
