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


TWICE = b"q\x00" + b"0"  # names what was made, and puts it away
NESTED_LISTS = b"]" + (TWICE + b"](h\x00h\x00e") * 40  # 2 ** 40 when it is shown
NESTED_TUPLES = b")" + (TWICE + b"h\x00h\x00\x86") * 40  # as many steps when it is hashed
DEEP_TUPLES = b")" + b"\x85" * 1_000_000  # Python's own hash of it overflows its stack
COPIES = b"2" * 40  # of what is on top, by an opcode that no pickler writes


@pytest.mark.parametrize(
    "body",
    [
        b"(" + NESTED_LISTS + b"K\x01K\x01K\x01K\x01tQ",  # a storage that is none
        b"c_codecs\nencode\nX\x01\0\0\0a" + NESTED_LISTS + b"\x86R",  # nor a codec
        b"}" + NESTED_TUPLES + b"K\x01s",
        b"}" + DEEP_TUPLES + b"K\x01s",
        b"](" + COPIES + b"e",
    ],
)
def test_what_grows_beyond_its_length_is_refused_at_once(body: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"in several places|tuples, and 20000 at mos"):
        unpickle(io.BytesIO(b"\x80\x02" + body + b"."), NUMPY_NAMES)


def test_deep_tuples_that_are_read_can_be_hashed() -> None:
    body = b"}" + b")" + b"\x85" * 20_000 + b"K\x01s"
    assert len(unpickle(io.BytesIO(b"\x80\x02" + body + b"."), {})[0]) == 1


@pytest.mark.parametrize("shape", [(10**12, "x"), ["x"], 3, (2.0, 3.0)])
def test_a_shape_of_anything_but_numbers_allocates_nothing(tmp_path: Path, shape: object) -> None:
    array = np.ones((2, 3), np.float32)

    class Forged:
        def __reduce__(self) -> tuple[object, ...]:
            reduced = array.__reduce__()
            assert isinstance(reduced, tuple)
            function, arguments, (version, _, *rest) = reduced[:3]
            return function, arguments, (version, shape, *rest)

    pickled = pickle.dumps({"AlexNet_0": {"Conv_0": {"kernel": Forged()}}}, 3)
    with pytest.raises(ValueError, match="Conv_0/kernel: its shape or its element type is none"):
        read_weights(written(tmp_path, "alexnet.ckpt", pickled))


def test_object_pointers_are_never_made_from_bytes(tmp_path: Path) -> None:
    """An object dtype whose data is bytes would make pointers of the file's choice."""
    pickled = pickle.dumps({"AlexNet_0": {"Conv_0": {"bias": np.ones(2)}}}, 3)
    forged = pickled.replace(b"f8", b"O8").replace(b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00|")
    assert forged != pickled
    with pytest.raises(ValueError, match=r"element type '\|O8'; expected float16, 32 or 64"):
        read_weights(written(tmp_path, "alexnet.ckpt", forged))
