"""Reads folders of the Hugging Face hub: config.json, how pictures are prepared, and the tensors of
model.safetensors, or of the files that model.safetensors.index.json lists; knows no network.
"""

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PREPROCESSING = "preprocessor_config.json"
PROCESSING = "processor_config.json"  # what transformers 5 writes in its place
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
FLOATS = ("F64", "F32", "F16", "BF16")
LARGEST = 1 << 24  # what no number of a configuration reaches
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILES = (".caffemodel", ".npy", ".npz", ".pth", ".pt", ".ckpt", ".safetensors")
_FETCHED = ("*.json", "model*.safetensors")


class Tensor(NamedTuple):
    """Where a tensor lies.

    Attributes:
      file: file that holds it.
      shape: its shape.
      dtype: name of its type in safetensors.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: str


class HuggingFaceFolder(NamedTuple):
    """A network as the Hugging Face hub keeps it.

    Attributes:
      path: the folder.
      config: content of config.json.
      preprocessing: how pictures are prepared, what is null there omitted, as transformers takes it;
        empty where the folder does not say.
      tensors: what its files hold, by name.
    """

    path: Path
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def section(
        self, name: str, defaults: Mapping[str, Any], *, loose: Collection[str] = ()
    ) -> dict[str, Any]:
        """Returns the configuration of one tower of a network, also where it is all that is there.

        Args:
          name: name of its part of config.json, "vision_config" or "text_config".
          defaults: values that config.json leaves out where they are these.
          loose: names among them of values that may be of any type.

        Raises:
          ValueError: for a value of another type.
        """
        own = self.config.get(f"{name}_dict")  # what the first versions wrote, and it counts
        own = self.config.get(name) if own is None else own
        return self.completed(self.config if own is None else own, defaults, loose=loose)

    def completed(
        self, given: Any, defaults: Mapping[str, Any], *, loose: Collection[str] = ()
    ) -> dict[str, Any]:
        """Completes what one of the folder's files says by defaults, and checks the types of their values."""
        if not isinstance(given, Mapping):
            raise ValueError(
                f"{self.path}: has {given!r} in place of a section of its configuration; fetch the folder "
                "again"
            )
        values = dict(defaults) | dict(given)
        for name in defaults.keys() - set(loose):
            expected = _expected(values[name], defaults[name])
            if expected:
                raise ValueError(
                    f"{self.path}: {name} is {values[name]!r}, expected {expected}; fetch the folder again"
                )
        return values

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Reads tensors as float32.

        Args:
          names: names among `tensors`.

        Returns:
          {name: array}.

        Raises:
          ValueError: for a type that is no floating-point number, or values that are not finite.
        """
        arrays: dict[str, np.ndarray] = {}
        wanted = set(names)
        for file in sorted({self.tensors[name].file for name in wanted}):
            with _opened(file) as content:
                for name in sorted(wanted):
                    if self.tensors[name].file == file:
                        arrays[name] = _float32(content, name, self.tensors[name])
        return arrays


def holds_network(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is a folder with a network as the hub keeps it."""
    folder = Path(path)
    return (folder / CONFIG).is_file() and any(
        (folder / name).is_file() for name in (WEIGHTS, INDEX)
    )


def is_folder(source: str) -> bool:
    """Returns whether --source names a folder, here or on the hub, and not a file."""
    path = Path(source)
    if path.is_dir():
        return True
    named = _HUB_NAME.fullmatch(source) and path.suffix not in _FILES
    return bool(named) and not path.exists() and not path.parent.exists()


def fetched(source: str) -> Path:
    """Returns a folder that is here, or fetches one of the hub.

    Args:
      source: path of a folder, or OWNER/NAME on the hub.

    Raises:
      ImportError: where huggingface_hub is needed and not installed.
      OSError: when the hub cannot be reached, or has no such folder.
    """
    if Path(source).is_dir():
        return Path(source)
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f"{source} is no folder here, and to fetch it from the Hugging Face hub needs "
            "huggingface_hub; pip install huggingface_hub, or install this package with its extra 'hub'; "
            "or give the path of a folder"
        ) from error
    try:
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=list(_FETCHED)))
    except Exception as error:  # whatever the hub's client trips over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(
            f"{source} cannot be fetched from the Hugging Face hub ({reason}); copy the folder here and "
            "give its path"
        ) from error


def read_folder(path: str | Path) -> HuggingFaceFolder:
    """Reads a folder's configuration, and what its files hold; `HuggingFaceFolder.read` reads tensors.

    Args:
      path: the folder.

    Raises:
      FileNotFoundError: when one of its files is missing.
      ValueError: when one is damaged.
    """
    path = Path(path)
    config = read_json(path / CONFIG)
    kind = config.get("model_type")
    if not isinstance(kind, str | None):
        raise ValueError(
            f"{path / CONFIG}: model_type is {kind!r}, expected a text; fetch the folder again"
        )
    return HuggingFaceFolder(path, config, _preprocessing(path), _tensors(path))


def _preprocessing(path: Path) -> dict[str, Any]:
    """Reads how a folder's pictures are prepared."""
    own: Any = {}
    if (path / PREPROCESSING).is_file():
        own = read_json(path / PREPROCESSING)
    elif (path / PROCESSING).is_file():
        own = read_json(path / PROCESSING).get("image_processor") or {}
    if not isinstance(own, dict):
        raise ValueError(
            f"{path / PROCESSING}: image_processor is {own!r}, expected an object; fetch the folder again"
        )
    return {name: value for name, value in own.items() if value is not None}


def _expected(value: Any, usual: Any) -> str | None:
    """Returns what is expected in place of a value, by its usual one; None where it is that."""
    if isinstance(usual, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(usual, str):
        return None if isinstance(value, str) else "a text"
    if isinstance(usual, int | None):
        fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST
        return None if fits or (value is usual is None) else "a whole number"
    if isinstance(usual, float):
        return None if _is_number(value) and value > 0 else "a number above 0"
    numbers = value if isinstance(value, list | tuple) else [value] * len(usual)
    fits = len(numbers) == len(usual) and all(map(_is_number, numbers))
    return None if fits else f"{len(usual)} numbers"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST  # neither infinite nor NaN


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file of a folder that holds a JSON object; FileNotFoundError or ValueError for others."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no such file; give a folder as the Hugging Face hub has it, with {CONFIG} "
            f"and {WEIGHTS}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is damaged ({error}); fetch the folder again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds no JSON object; fetch the folder again")
    return content


def _tensors(path: Path) -> dict[str, Tensor]:
    """Lists what a folder's weight files hold."""
    if (path / WEIGHTS).is_file():
        return _held(path / WEIGHTS)
    if not (path / INDEX).is_file():
        raise FileNotFoundError(
            f"{path}: holds neither {WEIGHTS} nor {INDEX}; weights of another form "
            "(pytorch_model.bin) are not read: save them with transformers' save_pretrained"
        )
    listed = read_json(path / INDEX).get("weight_map", {})
    if not isinstance(listed, dict) or not all(isinstance(x, str) for x in listed.values()):
        raise ValueError(
            f"{path / INDEX}: weight_map is no object of names of files; fetch the folder again"
        )
    if outside := sorted({name for name in listed.values() if Path(name).name != name}):
        raise ValueError(f"{path / INDEX}: names files outside of the folder ({outside})")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(listed.values())):
        tensors |= _held(path / name)
    if missing := sorted(set(listed) - set(tensors)):
        raise ValueError(
            f"{path / INDEX}: lists tensors that its files do not hold: {', '.join(missing)}; fetch the "
            "folder again"
        )
    return tensors


def _held(file: Path) -> dict[str, Tensor]:
    with _opened(file) as content:
        slices = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
        return {
            name: Tensor(file, tuple(part.get_shape()), part.get_dtype())
            for name, part in slices.items()
        }


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Opens a file, which safetensors checks; tensors are read when they are asked for."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file; fetch the folder again")
    try:
        with safe_open(file, "np") as content:
            yield content
    except SafetensorError as error:
        raise ValueError(f"{file}: is damaged ({error}); fetch the folder again") from error


def _float32(content: Any, name: str, tensor: Tensor) -> np.ndarray:
    if tensor.dtype not in FLOATS:
        raise ValueError(
            f"{tensor.file}: {name} is of type {tensor.dtype}, expected one of {', '.join(FLOATS)}; give "
            "weights that are not quantised"
        )
    with np.errstate(over="ignore"):  # an overflowing float64 becomes infinite: caught below
        array = np.asarray(content.get_tensor(name), np.float32)
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise ValueError(
            f"{tensor.file}: {name} holds {bad} non-finite of {array.size} values; fetch the folder again"
        )
    return array
