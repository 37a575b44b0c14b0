"""Modules as files: where they lie, what their code is without comments and layout, and what they import.

Nothing is imported to find out.
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
"""Modules that cannot be imported by name."""
INSTALLED = {"site-packages", "dist-packages"}
BUILD = re.compile(r"\+(cpu|cu\d+|rocm[\d.]+|xpu)$")
"""The part of a version that names a kind of device. It does not count."""


def module_of(names: Mapping[str, Any]) -> str | None:
    """The name of the module with these globals, or None."""
    name = names.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    return name if module is not None and vars(module) is names else None


def spec_of(name: str) -> ModuleSpec | None:
    """The spec of a module, whether it is imported or not, or None. Imports nothing."""
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
    """The file of a module, or None."""
    spec = spec_of(name)
    return spec.origin if spec and spec.has_location else None


@cache
def _standard() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})


def is_standard(spec: ModuleSpec) -> bool:
    """Whether a module belongs to Python itself."""
    if not spec.has_location or not spec.origin:
        return not spec.submodule_search_locations
    return not is_installed(spec.origin) and any(
        Path(spec.origin).resolve().is_relative_to(place) for place in _standard()
    )


def is_installed(file: str) -> bool:
    """Whether a file lies in a folder for installed packages."""
    return bool(INSTALLED & set(Path(file).parts))


@cache
def versions_of(top: str) -> tuple[str, ...]:
    """The distributions that provide a package, with their versions."""
    try:
        return (f"{top}=={BUILD.sub('', importlib.metadata.version(top))}",)
    except importlib.metadata.PackageNotFoundError:
        names = sorted(set(importlib.metadata.packages_distributions().get(top, ())))
        return tuple(f"{name}=={BUILD.sub('', importlib.metadata.version(name))}" for name in names)


def bytes_of(spec: ModuleSpec) -> bytes:
    """The content of a module's file, which may lie in an archive."""
    get: Any = getattr(spec.loader, "get_data", None)
    data: bytes = get(spec.origin) if get else Path(str(spec.origin)).read_bytes()
    return data


_read: dict[str, tuple[ModuleSpec, str]] = {}
"""By file, the import for which it was read, and the text."""


def text_of(name: str, spec: ModuleSpec) -> str:
    """The ``canonical`` text of a module's file, or a digest of its bytes where it is no Python source.

    Raises: BadInput when the file was edited after it was imported.
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
    """A source file as syntax, without comments, docstrings and layout. Versions of Python agree on it.

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
    """Whether a statement is a docstring: a text and nothing else."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@lru_cache(maxsize=256)
def imports_of(data: bytes, package: str) -> tuple[tuple[str, bool], ...]:
    """The names that a source file imports, anywhere in it, and of each whether it surely is a module."""
    imports: dict[str, bool] = {}
    try:
        nodes = list(ast.walk(ast.parse(data)))
    except (SyntaxError, ValueError):
        return ()
    for node in nodes:
        if isinstance(node, ast.Import):
            imports |= {alias.name: True for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            try:
                name = (
                    importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                    if node.level
                    else str(node.module)
                )
            except ImportError:
                continue
            imports |= {name: True} | {
                f"{name}.{alias.name}": False for alias in node.names if f"{name}.{alias.name}" not in imports
            }
        elif isinstance(node, ast.Call) and _is_import(node.func) and node.args:
            [first, *_] = node.args
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("."):
                imports.setdefault(first.value, True)
    return tuple(imports.items())


def _is_import(function: ast.expr) -> bool:
    name = (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
    return name in ("import_module", "__import__")
