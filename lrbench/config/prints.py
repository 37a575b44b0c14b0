"""Fingerprints of plug-ins: an edit of their code, or of the values that it uses, makes another one.

Of a module in a file, the whole syntax counts; so do the local modules that it imports, anywhere in its code, and the
versions of the installed packages that it names. Code without a module that can be imported again (``__main__``, a
notebook, text given to ``exec``) counts as compiled, with the values of the globals that it uses, and what these refer
to. ``torch`` and ``lrbench`` do not count: like Python, they are recorded with the machine. Files other than code are
not seen.
"""

import dis
import hashlib
import sys
from collections.abc import Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from lrbench.config.sources import (
    SESSION,
    bytes_of,
    file_of,
    imports_of,
    is_installed,
    is_standard,
    module_of,
    spec_of,
    text_of,
    versions_of,
)

EXCEPTED = ("torch", "lrbench")
"""Packages whose versions are recorded with the machine."""
PLUGIN = "lrbench_plugin_"
"""The prefix of modules made from plug-in files. Their names do not count."""
FOR_PEOPLE = {"for_people": True}
"""Metadata for a field of a dataclass that does not affect results: no fingerprint covers it."""
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), PurePath)


class Prints:
    """Collects what a fingerprint covers, from the module ``root`` on, which may be an installed one."""

    def __init__(self, root: str | None) -> None:
        self.own = (root or "").partition(".")[0]
        self.lines: list[str] = []
        self.modules: dict[str, str] = {}
        self.seen: dict[int, Any] = {}
        self.live = False
        """Whether it covers values that can change."""
        if root:
            self.module(root)

    @property
    def digest(self) -> str:
        """The fingerprint: twelve hexadecimal digits."""
        modules = sorted(f"{name} {text}" for name, text in self.modules.items() if text)
        return hashlib.sha256("\0".join([*modules, "", *self.lines]).encode(errors="surrogatepass")).hexdigest()[:12]

    def add(self, line: str) -> None:
        """Cover one more line."""
        self.lines.append(line)

    def module(self, name: str, *, surely: bool = True) -> None:
        """Cover a module, the packages that contain it, and what it imports."""
        top, _, inner = name.partition(".")
        known = "plug-in" if name.startswith(PLUGIN) else name
        if top in EXCEPTED or name in SESSION or known in self.modules:
            return
        spec = spec_of(name)
        if spec is None or is_standard(spec):
            if spec is None and surely and not inner:
                self.modules[known] = "is not here"
            return
        if inner:
            self.module(name.rpartition(".")[0])
        self.modules[known] = ""
        versions = versions_of(top) if spec.origin and is_installed(spec.origin) else ()
        if versions:
            self.modules[top] = self.modules.get(top) or ", ".join(versions)
        if spec.has_location and spec.origin and (top == self.own or not versions):
            text = text_of(name, spec)
            self.modules[f"{known} code"] = text
            if spec.origin.endswith(".py"):
                package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
                for other, is_module in imports_of(bytes_of(spec), package):
                    self.module(other, surely=is_module)

    def _is_known(self, module: str | None) -> bool:
        """Whether the name of a module, or its file, identifies its content."""
        return module is not None and module not in SESSION and spec_of(module) is not None

    def value(self, value: Any) -> None:
        """Cover a value and what it refers to."""
        if isinstance(value, PLAIN):
            self.add(f"{type(value).__name__} {value!r}" if not isinstance(value, PurePath) else f"path {value}")
            return
        if not isinstance(value, tuple):  # which cannot hold itself
            if id(value) in self.seen:
                self.add("again")
                return
            self.seen[id(value)] = value
        if isinstance(value, ModuleType):
            self.module(value.__name__)
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, CodeType):
            self._code(value)
        else:
            self._object(value)

    def values(self, name: str, *values: Any) -> None:
        """Cover several values under a name."""
        self.add(f"{name} of {len(values)}")
        for value in values:
            self.value(value)

    def _object(self, value: Any) -> None:
        if isinstance(value, dict):
            self.values("dict", *(part for item in value.items() for part in item))
        elif isinstance(value, Set):
            self.values("set", *sorted(map(repr, value)))
        elif isinstance(value, list | tuple):
            self.values(type(value).__name__, *value)
        elif isinstance(value, partial):
            self.values("partial", value.func, value.args, value.keywords)
        elif isinstance(value, MethodType):
            self.values("method", value.__func__, value.__self__)
        elif isinstance(value, staticmethod | classmethod):
            self.values(type(value).__name__, value.__func__)
        elif isinstance(value, property):
            self.values("property", value.fget, value.fset, value.fdel)
        elif isinstance(value, BuiltinFunctionType):
            self.add(f"{value.__module__}.{value.__qualname__}")
        elif hasattr(value, "__wrapped__"):  # functools.cache
            self.values(type(value).__name__, value.__wrapped__)
        elif not self._array(value):
            self._instance(value)

    def _array(self, value: Any) -> bool:
        """Cover a tensor or an array by its numbers. Returns: whether it was one."""
        try:
            if hasattr(value, "detach"):
                value = value.detach().cpu()
                value = value.double() if str(value.dtype) == "torch.bfloat16" else value
            if not hasattr(value, "__array__"):
                return False
            array = np.ascontiguousarray(value)
        except (TypeError, ValueError, RuntimeError, NotImplementedError):
            return False
        if array.dtype.hasobject:
            self.values("array", *array.ravel().tolist())
        else:
            self.add(f"array {array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}")
        return True

    def _instance(self, value: Any) -> None:
        kind = type(value)
        self.value(kind)
        ours = kind.__module__.partition(".")[0] in EXCEPTED or not self._is_foreign(kind.__module__)
        names = [n for c in kind.__mro__ for n in _listed(vars(c).get("__slots__", ())) if hasattr(value, n)]
        inside = dict(getattr(value, "__dict__", {})) | {name: getattr(value, name) for name in names}
        for one in fields(value) if is_dataclass(value) else ():
            if one.metadata.get("for_people"):
                del inside[one.name]
        if ours and inside:
            self.values("inside", *(part for item in inside.items() for part in item))
        elif " at 0x" not in (text := repr(value)):
            self.add(text)

    def _is_foreign(self, module: str) -> bool:
        """Whether a module is Python's own, or of an installed package that counts by its version."""
        spec = None if module in SESSION else spec_of(module)
        if spec is None:
            return module == "builtins"
        top = module.partition(".")[0]
        return (
            top in EXCEPTED
            or is_standard(spec)
            or (top != self.own and bool(spec.origin) and is_installed(str(spec.origin)))
        )

    def _function(self, function: Any) -> None:
        while getattr(function, "hooked", False) and hasattr(
            function, "__wrapped__"
        ):  # torch does that to an optimizer once it is used
            function = function.__wrapped__
        module = module_of(function.__globals__)
        if (
            module is not None
            and self._is_known(module)
            and (self._is_foreign(module) or function.__code__.co_filename == file_of(module))
        ):
            self.add(f"{'' if module.startswith(PLUGIN) else module}:{function.__code__.co_qualname}")
            self.module(module)
        else:
            if module is not None:
                self.module(module)
            self._code(function.__code__, function.__globals__)
        self.values("defaults", function.__defaults__, function.__kwdefaults__)
        self.values("closure", *(_content(cell) for cell in function.__closure__ or ()))

    def _class(self, kind: type) -> None:
        module = kind.__module__
        held: Any = sys.modules.get(module)
        for name in kind.__qualname__.split("."):
            held = getattr(held, name, None)
        if self._is_known(module) and (
            held is kind or (self._is_foreign(module) and module != "builtins") or "<locals>" in kind.__qualname__
        ):
            self.add(f"class {'' if module.startswith(PLUGIN) else module}:{kind.__qualname__}")
            self.module(module)
            return
        self.live = True
        self.values("class", kind.__qualname__, *kind.__bases__)
        for name, value in vars(kind).items():
            if name not in _OF_EVERY_CLASS:
                self.values(name, value)

    def _code(self, code: CodeType, names: Mapping[str, Any] | None = None) -> None:
        """Cover compiled code, without line numbers, and the globals that it uses."""
        self.live = True
        _dump_code(code, self.lines)
        for kind, name in _used(code):
            if kind == "import":
                self.module(name, surely=False)
            elif names and name in names and not name.startswith("__"):
                self.values(f"global {name}", names[name])


_OF_EVERY_CLASS = {
    "__module__", "__dict__", "__weakref__", "__doc__", "__qualname__", "__firstlineno__", "__static_attributes__",
    "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__parameters__",
    "__abstractmethods__", "_abc_impl",
}  # fmt: skip


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _dump_code(code: CodeType, lines: list[str]) -> None:
    lines.append(
        f"code {code.co_name} {code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]} {code.co_flags} "
        f"{code.co_names}"
    )
    lines.append(code.co_code.hex())
    for i, constant in enumerate(code.co_consts):
        if isinstance(constant, CodeType):
            _dump_code(constant, lines)
        elif isinstance(constant, frozenset):  # whose order is chance
            lines.append(repr(sorted(map(repr, constant))))
        elif not (i == 0 and isinstance(constant, str) and not _loads(code, 0)):  # which is the docstring
            lines.append(repr(constant))


def _loads(code: CodeType, constant: int) -> bool:
    return any(step.opname == "LOAD_CONST" and step.arg == constant for step in dis.get_instructions(code))


def _used(code: CodeType) -> Iterator[tuple[str, str]]:
    """The globals and modules that code uses, inner functions included."""
    imported = ""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield "global", str(step.argval)
        elif step.opname == "IMPORT_NAME":
            imported = str(step.argval)
            yield "import", imported
        elif step.opname == "IMPORT_FROM":
            yield "import", f"{imported}.{step.argval}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _used(constant)
