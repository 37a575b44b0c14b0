"""Reading TOML files that people write."""

import tomllib
from pathlib import Path
from typing import Any

from lrbench.config.faults import BadInput


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """The values of a TOML file; ``kind`` says what it should be, such as "a matrix file".

    Raises: BadInput when it cannot be read, is not UTF-8, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}. Give the path of {kind} (TOML).") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not a text file in UTF-8. Give the path of {kind} (TOML).") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path.name}: is not TOML: {error}") from error
