"""Hostile pickles in every format that holds one."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.models.weight_files.unpickling import NUMPY_NAMES, unpickle
from tests.models.weight_files.encoders import TORCH_MAGIC, object_npy, written


class Payload:
    """Pickles as a call of a harmful function."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def containers(body: bytes) -> Iterator[tuple[str, bytes]]:
    """The same pickle inside every format that holds one."""
    empty = pickle.dumps(np.asanyarray({}, dtype=object), 4)
    yield "net.npy", object_npy({}, 4)[: -len(empty)] + body
    yield "net.ckpt", body
    yield "stream.pth", TORCH_MAGIC + body
    yield "state.pth", TORCH_MAGIC + b"\x80\x02K\x00." * 2 + body
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", body)
    yield "zip.pth", stream.getvalue()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", ["mkdir", "exec", "numpy", "builtins"])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, name: str, protocol: int) -> None:
    proof = tmp_path / "proof"
    call = {
        "mkdir": Payload(os.mkdir, str(proof)),
        "exec": Payload(exec, f"import os; os.mkdir({str(proof)!r})"),
        "numpy": Payload(np.save, str(proof), 0),
        "builtins": Payload(getattr, proof, "mkdir"),
    }[name]
    for file, data in containers(pickle.dumps(call, protocol)):
        path = written(tmp_path, file, data)
        with pytest.raises(
            ValueError, match=r"its pickle asks for .* a weight file needs only"
        ) as error:
            read_weights(path)
        assert str(path) in str(error.value)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".ckpt", ".npy", ".pth", ".pth", ".pth"]


def test_a_huge_memo_index_allocates_nothing(tmp_path: Path) -> None:
    for file, data in containers(b"\x80\x02}r\xff\xff\xff\xff."):
        with pytest.raises(ValueError, match="asks for 4294967295 memo entries"):
            read_weights(written(tmp_path, file, data))


def test_one_text_is_not_encoded_again_and_again() -> None:
    text = b"X" + struct.pack("<I", 10_000) + b"a" * 10_000 + b"q\x00"
    encode, codec = b"0c_codecs\nencode\nq\x01", b"0X\x06\0\0\0latin1q\x02"
    call = b"h\x01h\x00h\x02\x86R"
    for copies, fits in ((1, True), (2, False), (50, False)):
        stream = io.BytesIO(b"\x80\x02" + text + encode + codec + b"0](" + call * copies + b"e.")
        for _ in range(2):  # what one unpickling asked for does not count for the next
            stream.seek(0)
            if fits:
                assert unpickle(stream, NUMPY_NAMES)[0] == [b"a" * 10_000]
            else:
                with pytest.raises(
                    pickle.UnpicklingError, match="asks for more bytes than its own"
                ):
                    unpickle(stream, NUMPY_NAMES)


def test_object_pointers_are_never_made_from_bytes(tmp_path: Path) -> None:
    """An object dtype whose data is bytes would make pointers of the file's choice."""
    pickled = pickle.dumps({"AlexNet_0": {"Conv_0": {"bias": np.ones(2)}}}, 3)
    forged = pickled.replace(b"f8", b"O8").replace(b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00|")
    assert forged != pickled
    with pytest.raises(ValueError, match=r"element type '\|O8'; expected float16, 32 or 64"):
        read_weights(written(tmp_path, "alexnet.ckpt", forged))
