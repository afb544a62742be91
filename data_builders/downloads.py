"""A source that is an address on the web -> a file on disk, its checksum compared.

TFDS's own download manager works without TensorFlow, but takes minutes of silence to say that a
host cannot be reached, leaves the pieces of failed downloads behind, and knows no MD5.
"""

import dataclasses
import hashlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

_SCHEMES = ("http://", "https://", "ftp://")
_TIMEOUT = 60.0  # seconds without a byte
_BLOCK = 2**20
_REMEDY = "try again, or download it by other means and give --source=PATH"


@dataclasses.dataclass(frozen=True)
class Download:
    """A public file and what is known of it.

    Attributes:
      url: its address.
      md5: checksum in hexadecimal; "" where it is not known.
      sha256: the same by SHA-256.
    """

    url: str
    md5: str = ""
    sha256: str = ""


def is_address(source: str | Path) -> bool:
    """Returns whether a source is an address on the web rather than a path."""
    return str(source).startswith(_SCHEMES)


def fetch(download: Download, folder: Path) -> Path:
    """Downloads a file, unless it is there, and returns its path.

    Args:
      download: the file.
      folder: folder of all downloads; the file goes to a sub-folder of its own, under the name that
        its address has.

    Raises:
      OSError: when it cannot be downloaded.
      ValueError: when a checksum differs; the file is removed.
    """
    address = urllib.parse.urlsplit(download.url)
    name = Path(urllib.parse.unquote(address.path)).name or "download"
    target = folder / hashlib.sha256(download.url.encode()).hexdigest()[:8] / name
    if not target.exists():
        _download(download.url, target)
    try:
        _compare(target, download)
    except ValueError:
        target.unlink()
        raise
    return target


def _download(url: str, target: Path) -> None:
    """Downloads to a file, which appears under its name when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        _receive(url, part)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _receive(url: str, part: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            size = _size_of(response)
            with (
                part.open("wb") as file,
                tqdm(desc=url, total=size, unit="B", unit_scale=True, disable=None) as bar,
            ):
                while block := response.read(_BLOCK):
                    bar.update(file.write(block))
    except urllib.error.URLError as error:  # also what a server answers, as HTTPError
        raise OSError(f"{url} cannot be downloaded ({error}); {_REMEDY}") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise OSError(f"{url}: the download broke off ({error!r}); {_REMEDY}") from error
    received = part.stat().st_size
    if size is not None and received != size:
        raise OSError(f"{url}: the download broke off at {received} of {size} bytes; {_REMEDY}")


def _size_of(response: Any) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _compare(path: Path, download: Download) -> None:
    for kind, expected in (("md5", download.md5), ("sha256", download.sha256)):
        if not expected:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != expected:
            raise ValueError(
                f"{download.url}: its {kind} is {found}, expected {expected}; {_REMEDY}"
            )
