"""Pictures that these tests draw: bytes of files, and trees of them on disk or in archives."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def drawing(row: int, size: int = 40) -> bytes:
    """A grey PNG with one horizontal stroke at `row`."""
    paper = np.full((size, size), 255, np.uint8)
    paper[row, 5:-5] = 0
    return encoded(paper)


def photo(number: int, kind: str = "PNG") -> bytes:
    """RGB [12, 16], its corner of a colour that tells the number."""
    pixels = np.full((12, 16, 3), 90, np.uint8)
    pixels[:6, :8] = (10 * number, 255 - 10 * number, 40)
    return encoded(pixels, kind)


def write_tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
