"""What a data set was built from: digests of the content of its source."""

import hashlib
import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data_builders.sources import source_files


def content_digest(paths: Iterable[Path], suffixes: Collection[str]) -> str:
    """Digests files and folders; where they lie does not matter, nor when they were written.

    Args:
      paths: files, digested as they are, archives included; and folders, of which the names and
        contents of files count.
      suffixes: see `source_files`; other files of a folder do not count.

    Returns:
      12 hexadecimal digits.

    Raises:
      OSError: when one does not exist or cannot be read.
      ValueError: see `source_files`.
    """
    files = [entry for path in paths for entry in _files(path, suffixes)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing leaves other threads alone
        digests = pool.map(file_digest, [path for _, path in files])
        entries = [f"{name}\0{digest}\n" for (name, _), digest in zip(files, digests, strict=True)]
    # File names that are not UTF-8 are refused later.
    return hashlib.sha256("".join(entries).encode(errors="surrogatepass")).hexdigest()[:12]


def _files(path: Path, suffixes: Collection[str]) -> list[tuple[str, Path]]:
    """Lists (name in the source, file on disk); `source_files` says so when there is no such path."""
    if path.is_file():
        return [("", path)]
    found = source_files(path, suffixes=suffixes)
    return [(file.name, file.source / str(file.entry)) for file in found]


def file_digest(path: Path) -> str:
    """Digests a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
