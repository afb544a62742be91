"""Unpickling that resolves a handful of names to recorders of our own, and no other.

Neither NumPy's nor torch's unpickling code sees the bytes of a file, and what a file could make
Python allocate is looked at before it is unpickled. What comes of it may be of any type, and is shown
in no message: of lists that hold the same one twice, and so on, the text would fill the memory.
"""

import dataclasses
import io
import math
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

_MAX_MEMO = 1 << 20
# An array takes five. Python hashes tuples in each other by recursion, and that many fit its stack.
_MAX_TUPLES = 20_000
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
# What makes an object that pickles of weights name twice: text, a class, what a call returns. Of tuples
# that hold the same one twice, and so on, a hash would take years.
_SHARED = frozenset({
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BINPERSID",
})  # fmt: skip


class _ArrayRecord:
    """Stands in for numpy.ndarray: keeps the pickled (version, shape, dtype, fortran, data)."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _DtypeRecord:
    """Stands in for numpy.dtype: keeps the type code ("f4") and the byte order."""

    def __init__(self, code: Any) -> None:
        self.code, self.order = _text(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1])


@dataclasses.dataclass(frozen=True)
class Storage:
    """Stands in for a torch storage: the key of its bytes and their type."""

    key: str
    dtype: str


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise pickle.UnpicklingError(f"its pickle has a {type(value).__name__} in place of a text")
    return value


def _new_array(*_: object) -> _ArrayRecord:
    return _ArrayRecord()


def _new_dtype(code: Any, *_: object) -> _DtypeRecord:
    return _DtypeRecord(code)


def _latin1(most: int) -> Callable[[str, str], bytes]:
    """Makes the function that pickles of Python 3, protocol 2, call for bytes: for at most so many.

    Every call copies its text, and a pickle may call it with the same one for eight bytes a time.
    """
    left = most

    def encode(text: str, encoding: Any) -> bytes:
        nonlocal left
        if _text(encoding) != "latin1":
            raise pickle.UnpicklingError(f"its pickle asks for the codec {encoding!r}")
        left -= len(text)
        if left < 0:
            raise pickle.UnpicklingError(f"its pickle asks for more bytes than its own {most}")
        return text.encode("latin1")

    return encode


_ENCODE = "_codecs.encode"

NUMPY_NAMES: dict[str, object] = {
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy._core.multiarray._reconstruct": _new_array,
    "numpy.ndarray": "ndarray",
    "numpy.dtype": _new_dtype,
    _ENCODE: "encode",  # each unpickling gets its own
}


class _Unpickler(pickle.Unpickler):
    """Resolves the given names to the given stand-ins, and no other."""

    def __init__(self, stream: BinaryIO, names: Mapping[str, object]) -> None:
        super().__init__(stream, encoding="latin1")  # Python 2 wrote array bytes as strings.
        self._names = names
        self.storages: dict[str, Storage] = {}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f"{module_name}.{global_name}"
        if name not in self._names:
            raise pickle.UnpicklingError(
                f"its pickle asks for {name}; a weight file needs only {', '.join(self._names)}"
            )
        return self._names[name]

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _location, _numel, *view = pid
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError("its pickle refers to what is no plain storage")
        return self.storages.setdefault(_text(key), Storage(key, _text(dtype)))


def unpickle(stream: BinaryIO, names: Mapping[str, object]) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle.

    Args:
        stream: where the pickle begins; it is left behind the pickle's end.
        names: {"module.name" that the pickle may ask for: what it gets}.

    Returns:
        What was pickled, and the torch storages that it refers to, {key: storage}.

    Raises:
        pickle.UnpicklingError: it asks for another name, or for more memory than a file needs.
    """
    start = stream.tell()
    _check_size(stream)
    length = stream.seek(0, io.SEEK_END)
    stream.seek(start)
    if _ENCODE in names:
        names = {**names, _ENCODE: _latin1(length)}
    unpickler = _Unpickler(stream, names)
    return unpickler.load(), unpickler.storages


def _check_size(stream: BinaryIO) -> None:
    """Raises UnpicklingError for a pickle that makes more than its own length lets expect."""
    tuples, last, made = 0, "", dict[int, str]()
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in _PUTS:
            number = len(made) if name == "MEMOIZE" else int(argument or 0)
            # The C unpickler allocates its memo up to the index asked for: four bytes can ask for 64 GB.
            if number > _MAX_MEMO:
                raise pickle.UnpicklingError(f"its pickle asks for {argument} memo entries")
            made[number] = last
        elif name == "DUP" or (name in _GETS and made.get(int(argument or 0)) not in _SHARED):
            raise pickle.UnpicklingError("its pickle has a list, tuple or dict in several places")
        # A frame may begin between an object and its number.
        last = last if name in _PUTS or name == "FRAME" else name
        tuples += name.startswith("TUPLE")
    if tuples > _MAX_TUPLES:
        raise pickle.UnpicklingError(
            f"its pickle has {tuples} tuples, and {_MAX_TUPLES} at most are read"
        )


def array_from_record(record: _ArrayRecord, where: str) -> np.ndarray:
    """Turns a recorded array into one, reading its bytes as nothing but floats.

    Args:
        record: what `unpickle` with `NUMPY_NAMES` made of an array.
        where: the array's name in messages.

    Raises:
        ValueError: it is no array of floats.
    """
    if not isinstance(record, _ArrayRecord):
        raise ValueError(f"layer {where}: expected an array, got {type(record).__name__}")
    _, shape, dtype, fortran, data = record.state
    if not isinstance(dtype, _DtypeRecord) or not are_numbers(shape):
        raise ValueError(f"layer {where}: its shape or its element type is none")
    raw = data.encode("latin1") if isinstance(data, str) else data
    return array_from_bytes(raw, dtype.order + dtype.code, shape, fortran=fortran, where=where)


def are_numbers(values: Any) -> bool:
    """Returns whether what was unpickled is a tuple of integers: a number times a text is a long one."""
    return isinstance(values, tuple) and all(isinstance(value, int) for value in values)


def array_from_bytes(
    raw: bytes, dtype: str, shape: tuple[int, ...], *, fortran: bool, where: str
) -> np.ndarray:
    """Reads an array's bytes as nothing but floats.

    Args:
        raw: the bytes.
        dtype: NumPy's code of the type, such as "<f4".
        shape: the array's.
        fortran: whether the first axis is the fastest.
        where: the array's name in messages.

    Raises:
        ValueError: for another type, or bytes that do not fill the shape.
    """
    if dtype[1:] not in ("f2", "f4", "f8"):
        raise ValueError(f"layer {where}: element type {dtype!r}; expected float16, 32 or 64")
    flat = np.frombuffer(raw, dtype=dtype)
    if math.prod(shape) != flat.size:
        raise ValueError(f"layer {where}: shape {list(shape)} but {flat.size} numbers")
    return flat.reshape(shape, order="F" if fortran else "C")
