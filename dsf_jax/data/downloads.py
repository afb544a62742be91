"""An address on the web -> a file on disk, its checksum compared; taken up again where it broke off.

TFDS's own download manager works without TensorFlow, but takes minutes of silence to say that a
host cannot be reached, fetches again what broke off, and knows no MD5.
"""

import dataclasses
import errno
import hashlib
import http.client
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from dsf_jax.data.files import user_cache

_SCHEMES = ("http://", "https://", "ftp://")
_TIMEOUT = 60.0  # seconds without a byte
_BLOCK = 2**20
_NETWORK = (  # what goes wrong on the way; a full disk is another matter
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
_REMEDY = "try again, or download it by other means and give its path"


@dataclasses.dataclass(frozen=True)
class Download:
    """A public file and what is known of it.

    Attributes:
      url: its address.
      md5: checksum in hexadecimal; "" where it is not known.
      sha256: the same by SHA-256.
      first: bytes that are taken of its beginning, up to the last whole line of them; 0 takes all.
      most: bytes that it may have; 0 for any number.
    """

    url: str
    md5: str = ""
    sha256: str = ""
    first: int = 0
    most: int = 0


def cache_folder(name: str) -> Path:
    """Makes a folder of this user's cache; OSError where there is none."""
    caches = user_cache()
    if caches is None:
        raise OSError(
            "this user has no home folder, and files that are fetched need one; name a folder with "
            "XDG_CACHE_HOME"
        )
    (caches / name).mkdir(parents=True, exist_ok=True)
    return caches / name


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
    fetch_as(download, target)
    return target


def fetch_as(download: Download, target: Path, *, mirror: str = "") -> None:
    """Downloads a file to a path, unless it is there.

    Args:
      download: the file.
      target: where it is to lie. It appears there when it is complete; what has come of it when a
        connection breaks, or the process is killed, lies beside it, and the next call goes on from there.
      mirror: address of a server that has the files under MIRROR/HOST/PATH; "" asks the hosts.

    Raises:
      OSError: when it cannot be downloaded, or the disk is full.
      ValueError: when a checksum differs; the file is removed.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(mirrored(download.url, mirror), target, download)
    try:
        _compare(target, download)
    except ValueError:
        target.unlink()
        raise


def mirrored(url: str, mirror: str) -> str:
    """Returns the address of a file on a mirror; its own where the mirror is "".

    Raises:
      ValueError: for a mirror that is no address.
    """
    if not mirror:
        return url
    if not is_address(mirror):
        raise ValueError(f"mirror={mirror} is no {' or '.join(_SCHEMES)} address; correct it")
    address = urllib.parse.urlsplit(url)
    return f"{mirror.rstrip('/')}/{address.netloc}{address.path}"


def _download(url: str, target: Path, download: Download) -> None:
    """Downloads to a file, as long as each connection brings more of it than the last one did."""
    partial = _Partial.beside(target)
    while True:
        before = partial.size
        try:
            _receive(url, partial, download)
            break
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                partial.path.unlink()  # whatever it is, it is no beginning of that file
                continue
            raise OSError(f"{url} cannot be downloaded ({error}); {_REMEDY}") from error
        except _NETWORK as error:
            if partial.size > before:
                continue
            partial.tidy()
            what = (
                "cannot be downloaded" if isinstance(error, urllib.error.URLError) else "broke off"
            )
            raise OSError(f"{url}: {what} ({error}); {_REMEDY}") from error
    if first := download.first:
        data = partial.path.read_bytes()
        partial.path.write_bytes(data[: data.rfind(b"\n") + 1] if len(data) == first else data)
    partial.path.replace(target)
    partial.tidy()


class _Partial(NamedTuple):
    """What has come of a file, and of which version of it.

    Attributes:
      path: the bytes.
      version: file that holds the size of the whole and what the server calls its version.
    """

    path: Path
    version: Path

    @classmethod
    def beside(cls, target: Path) -> "_Partial":
        return cls(
            target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.version")
        )

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def known(self) -> tuple[int, str]:
        """Returns size and version of the whole; 0 and "" where it has to be fetched from its start."""
        if not (self.size and self.version.exists()):
            return 0, ""
        size, _, version = self.version.read_text(encoding="utf-8").partition(" ")
        return int(size or 0), version

    def tidy(self) -> None:
        """Removes what tells nothing."""
        for path in (self.path, self.version):
            if not self.size:
                path.unlink(missing_ok=True)


def _receive(url: str, partial: _Partial, download: Download) -> None:
    """Appends what is missing of a file, or starts over where the server has another one, or none in parts."""
    first = download.first
    whole, version = partial.known()
    if whole and partial.size == whole:
        return
    request = urllib.request.Request(url)
    if version:
        request.add_header("Range", f"bytes={partial.size}-")
        request.add_header("If-Range", version)
    elif first:
        request.add_header("Range", f"bytes=0-{first - 1}")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        part = getattr(response, "status", None) == http.HTTPStatus.PARTIAL_CONTENT
        done = partial.size if version and part else 0
        sent = _size_of(response)
        size = None if sent is None else min(done + sent, first or done + sent)
        if not done:
            partial.path.unlink(missing_ok=True)
            partial.version.write_text(f"{size or 0} {_version_of(response)}", encoding="utf-8")
        _check_space(partial.path, (size or 0) - done)
        _append(response, partial.path, size, download)
    if size is not None and partial.size != size:
        raise ConnectionError(f"at {partial.size} of {size} bytes")


def _append(response: Any, path: Path, size: int | None, download: Download) -> None:
    """Writes what comes, with a progress bar."""
    first, most = download.first, download.most
    with (
        path.open("ab") as file,
        tqdm(
            desc=download.url,
            total=size,
            initial=file.tell(),
            unit="B",
            unit_scale=True,
            disable=None,
        ) as bar,
    ):
        while block := response.read(min(_BLOCK, first - file.tell()) if first else _BLOCK):
            bar.update(file.write(block))
            if most and file.tell() > most:
                path.unlink()
                raise ValueError(
                    f"{download.url} has more than {most} bytes, and no more are taken"
                )


def _version_of(response: Any) -> str:
    """Returns what a server says that changes with a file's content; "" where it cannot go on with one."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{needed} more bytes are to come and {free} are free; free some, or choose another place, and "
            "run the command again",
            str(path),
        )


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
