"""Archives: a folder as a gzipped tar file, the same bytes for the same files, with a checksum of each file."""

import gzip
import hashlib
import io
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from lrbench.config.faults import BadInput, message_of

SUMS = "SHA256SUMS"
"""The file of checksums in the archive's folder, as ``sha256sum -c`` reads it."""
ENDING = ".tar.gz"
LARGEST_UNPACKED = 16 * 2**30
"""The size limit of an unpacked archive, in bytes."""


def pack(name: str, files: Mapping[str, bytes]) -> bytes:
    """An archive of files, given by their paths in its one folder ``name``.

    The bytes depend on the name and the files alone, and on Python's zlib.
    """
    sums = "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path, content in sorted((dict(files) | {SUMS: sums.encode()}).items()):
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@contextmanager
def opened(file: Path) -> Iterator[Path]:
    """Unpack an archive into a temporary place, for the length of the block, and check the sum of every file.

    Yields: the archive's folder.

    Raises: BadInput when it is not such an archive, is damaged, or holds anything but files inside its folder.
    """
    with tempfile.TemporaryDirectory(prefix="lrbench-") as place:
        try:
            folder = _unpack(file, Path(place))
            _check(file, folder)
        except (tarfile.TarError, EOFError, zlib.error, ValueError, LookupError, OSError) as error:
            if isinstance(error, OSError) and error.filename:  # a fault of this system, not of the archive
                raise
            raise BadInput(f"{file}: is not a bundle, or is damaged: {message_of(error)}. Fetch it again.") from error
        yield folder


@contextmanager
def unpacked(place: Path) -> Iterator[Path]:
    """A folder itself, or the folder in a bundle for the length of the block. Raises: BadInput as ``opened``."""
    if place.is_file():
        with opened(place) as folder:
            yield folder
    else:
        yield place


def _unpack(file: Path, place: Path) -> Path:
    """Write the members below ``place``: plain files with plain paths in one folder. Returns: that folder."""
    tops, total = set(), 0
    with gzip.open(file) as whole, tarfile.open(fileobj=whole, mode="r:") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            total += member.size
            if member.isdir() and _is_plain(f"{member.name}/file"):
                continue  # a folder as plain tar lists it: its files bring it along
            if not member.isreg() or not _is_plain(member.name):
                raise BadInput(
                    f"{file}: holds {member.name!r}, which is not a plain file inside its folder: nothing of it is "
                    f"used."
                )
            if total > LARGEST_UNPACKED:
                raise BadInput(f"{file}: unpacks to more than {LARGEST_UNPACKED:,} bytes: nothing of it is used.")
            content = archive.extractfile(member)
            target = place / path
            if content is None or target.exists():
                raise ValueError(f"{member.name} is there twice, or has no content")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())
            tops.add(path.parts[0])
        while whole.read(2**20):  # to the end, where gzip checks its own sum
            pass
    if len(tops) != 1:
        raise ValueError(f"it has {len(tops)} folders instead of one")
    return place / tops.pop()


def _is_plain(name: str) -> bool:
    """Whether a member's path stays inside the archive's folder, on every system."""
    parts = name.split("/")
    return len(parts) > 1 and all(part not in ("", ".", "..") for part in parts) and not any(c in name for c in "\\:\0")


def _check(file: Path, folder: Path) -> None:
    """Check every file against its sum. The files listed and the files there must be the same."""
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines() if (folder / SUMS).is_file() else []
    if not lines:
        raise ValueError(f"it has no {SUMS}")
    sums = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS]
    here = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    wrong = sorted(path for path in sums.keys() | here.keys() if sums.get(path) != here.get(path))
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise BadInput(f"{file}: is damaged: {wrong[0]}{more} has not the content that {SUMS} says. Fetch it again.")
