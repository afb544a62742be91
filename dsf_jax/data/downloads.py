"""Files of the web: checked by their SHA-256, taken up again where they broke off, never larger than said."""

import hashlib
import http.client
import pathlib
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from tqdm import tqdm

from dsf_jax.data.files import user_cache

CHUNK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte
TRIES = 3
OWN_MACHINE = ("127.0.0.1", "localhost", "::1")


def cache_folder(name: str) -> pathlib.Path:
    """Makes a folder of this user's cache; OSError where there is none."""
    caches = user_cache()
    if caches is None:
        raise OSError(
            "this user has no home folder, and files that are fetched need one; name a folder with "
            "XDG_CACHE_HOME"
        )
    (caches / name).mkdir(parents=True, exist_ok=True)
    return caches / name


def download(address: str, path: pathlib.Path, *, sha256: str, most: int) -> None:
    """Fetches a file, with a progress bar.

    Args:
      address: https://...; http:// of this machine alone.
      path: where it is to lie; appears there when it is complete and checked. What had come of it when an
        earlier call broke off lies beside it, and is not fetched again.
      sha256: digest of its content, hexadecimal.
      most: bytes that it may have.

    Raises:
      OSError: when it cannot be fetched, or the disk is full.
      ValueError: for another kind of address, or a file with another digest, or too large.
    """
    where = urllib.parse.urlsplit(address)
    if where.scheme != "https" and (where.scheme != "http" or where.hostname not in OWN_MACHINE):
        raise ValueError(f"{address} is no https:// address; files are fetched from such alone")
    part = path.with_name(f"{path.name}.part")
    for left in reversed(range(TRIES)):
        try:
            _fetch(address, part, most)
            break
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            ConnectionError,
            TimeoutError,
        ) as error:
            if not left or isinstance(error, urllib.error.HTTPError):
                raise OSError(f"{address} cannot be fetched ({error}); try again later") from error
    found = _digest(part)
    if found != sha256:
        part.unlink()
        raise ValueError(
            f"{address} has the SHA-256 {found}, expected {sha256}; it was changed, or damaged on the way: "
            "try again, or ask who made it"
        )
    part.replace(path)


def _fetch(address: str, part: pathlib.Path, most: int) -> None:
    """Appends what is missing of a file, or starts anew where the server does not go on."""
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        response: Any = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is there
        raise
    with response:
        goes_on = response.status == http.HTTPStatus.PARTIAL_CONTENT
        done = there if goes_on else 0
        size = int(response.headers.get("Content-Length") or 0)
        name = pathlib.PurePosixPath(urllib.parse.urlsplit(address).path).name
        bar = tqdm(total=done + size or None, initial=done, unit="B", unit_scale=True, desc=name)
        with part.open("ab" if goes_on else "wb") as file, bar:
            while chunk := response.read(CHUNK):
                done += len(chunk)
                if done > most:
                    raise ValueError(f"{address} has more than {most} bytes, and no more are taken")
                file.write(chunk)
                bar.update(len(chunk))
        if size and done < size + (there if goes_on else 0):
            raise ConnectionError(f"it broke off after {done} bytes")


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
