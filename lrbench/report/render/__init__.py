"""Documents as text: one file for each form. None reads another's output."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lrbench.report.document import Document
from lrbench.report.render import csv, latex
from lrbench.store import write_whole


def write_tables(folder: Path, document: Document) -> None:
    """Write every table of a document into ``tables/`` of a folder, as CSV and LaTeX, in place of those from before."""
    files: dict[str, str | bytes] = {}
    for title, table in document.tables():
        files |= {f"{table.name}.csv": csv.table(table), f"{table.name}.tex": latex.table(title, table)}
    write_files(folder / "tables", files, ["*.csv", "*.tex"])


def write_files(folder: Path, files: Mapping[str, str | bytes], kinds: Sequence[str]) -> None:
    """Write files into a folder, in place of those of the same kinds from before."""
    for name, content in files.items():
        write_whole(folder / name, content)
    for old in {old for kind in kinds for old in folder.glob(kind)} - {folder / name for name in files}:
        old.unlink()
