"""Loads a model from the folder that `launch.export` of dsf_jax wrote, and checks that it is whole.

Needs jax, flatbuffers (jax reads exported functions with it), numpy and safetensors, and nothing of
dsf_jax: a copy of this file lies in every such folder as load.py. README.md next to it shows how
to use it.
"""

import functools
import hashlib
import importlib.util
import json
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

CONFIG = "config.json"
PARAMS = "params.safetensors"
CHECKPOINTS = "checkpoints"  # for training on with dsf_jax; serving works without it
FORMAT = 1

_AGAIN = "copy the whole folder again, or export it again with python -m launch.export"


class ExportedModel(NamedTuple):
    """What an export folder holds, ready to run; each function compiles once per shape.

    Attributes:
      config: the content of config.json.
      params: {layer: {"kernel", "bias"}} float32, on the device; layers may be nested.
      photo_features: [b, 256, 256, 3] uint8 RGB -> {feature: [b, d] float32 of length 1}, named
        by config["feature_layers"], such as "L6+L7".
      sketch_features: [b, p, 3] uint16 canvas points (x, y, darkness), padded with 65535 -> the same.
      sketch_classes: [b, p, 3] uint16 -> [b, k] float32 probabilities, averaged over the views of
        a sketch, in the order of config["class_names"].
    """

    config: dict[str, Any]
    params: dict[str, Any]
    photo_features: Callable[[Any], dict[str, jax.Array]]
    sketch_features: Callable[[Any], dict[str, jax.Array]]
    sketch_classes: Callable[[Any], jax.Array]


def load_export(folder: str | os.PathLike[str]) -> ExportedModel:
    """Reads an export folder; it returns nothing unless all of it fits together.

    Args:
      folder: folder that launch.export wrote. Its sub-folder checkpoints may be omitted.

    Raises:
      FileNotFoundError: when the folder or one of its files is missing.
      ValueError: when a file is not the one that was written, files belong to different models, or
        the installed jax cannot run them.
    """
    folder = pathlib.Path(folder)
    config = _read_config(folder)
    _check_runtime(folder, config)
    _check_files(folder, config["files"])
    params = _read_params(folder, config)
    calls = {name: _read_function(folder, name, config, params) for name in config["functions"]}
    on_device = jax.device_put(params)
    runs = {
        name: functools.partial(_run, name, config, call, on_device) for name, call in calls.items()
    }
    return ExportedModel(config, on_device, **runs)


def digest_of_parameters(params: Mapping[str, Any]) -> str:
    """Digests parameters: SHA-256 over each array's name, type, shape and little-endian bytes.

    Args:
      params: {layer: {"kernel", "bias"}}; layers may be nested, and their order does not matter.

    Returns:
      64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, array in sorted(flat(params).items()):
        array = np.ascontiguousarray(array)
        digest.update(f"{name} {array.dtype.name} {list(array.shape)}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


def flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Names parameters as the files do: {layer: {leaf: x}} -> {"layer/leaf": x}."""
    named: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            named |= {f"{name}/{rest}": array for rest, array in flat(value).items()}
        else:
            named[name] = value
    return named


def nested(named: Mapping[str, Any]) -> dict[str, Any]:
    """Undoes `flat`."""
    params: dict[str, Any] = {}
    for name, array in named.items():
        *layers, leaf = name.split("/")
        inner = params
        for layer in layers:
            inner = inner.setdefault(layer, {})
        inner[leaf] = array
    return params


def checksum(config: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a configuration without its own entry "checksum"."""
    rest = {name: value for name, value in config.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def file_digest(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_config(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; give a folder that python -m launch.export wrote"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        written, found = config["checksum"], checksum(config)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged or of another program ({error!r}); {_AGAIN}"
        ) from error
    if written != found:
        raise ValueError(
            f"{path} was changed: its content has the checksum {found[:16]}, but it "
            f"states {str(written)[:16]}; {_AGAIN}"
        )
    if config["format"] != FORMAT:
        raise ValueError(
            f"{path} is of format {config['format']}, this loader reads {FORMAT}; "
            "use the load.py next to it"
        )
    return config


def _check_runtime(folder: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Refuses a jax that cannot read the functions, before it fails in the middle of them."""
    oldest = config["minimum_jax"]
    if _release(jax.__version__) < _release(oldest):
        raise ValueError(
            f"{folder} needs jax {oldest} or later, and jax {jax.__version__} is installed; "
            f'run pip install "jax>={oldest}"'
        )
    if importlib.util.find_spec("flatbuffers") is None:
        raise ValueError(
            f"{folder} has functions that jax reads with the package flatbuffers, which is not "
            "installed; run pip install flatbuffers"
        )
    from jax import export  # absent from versions that were refused above

    version = config["calling_convention_version"]
    lowest = export.minimum_supported_calling_convention_version
    highest = export.maximum_supported_calling_convention_version
    if not lowest <= version <= highest:
        raise ValueError(
            f"{folder} has functions of calling convention {version}, and jax {jax.__version__} runs "
            f"{lowest} to {highest}; install jax {oldest}, or export the model again with this jax"
        )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _check_files(folder: pathlib.Path, digests: Mapping[str, str]) -> None:
    """Compares every file with the digest that was taken when it was written."""
    for name, expected in digests.items():
        path = folder / name
        if name.startswith(f"{CHECKPOINTS}/") and not (folder / CHECKPOINTS).exists():
            continue
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; {_AGAIN}")
        found = file_digest(path)
        if found != expected:
            raise ValueError(
                f"{path} is damaged or of another export: its SHA-256 is {found[:16]}..., "
                f"{CONFIG} says {expected[:16]}...; {_AGAIN}"
            )


def _read_params(folder: pathlib.Path, config: Mapping[str, Any]) -> dict[str, Any]:
    # Here only: digests are taken where networks run without this library, too.
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / PARAMS
    try:
        arrays = load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {_AGAIN}") from error
    expected = config["params"]
    if differing := sorted(arrays.keys() ^ expected.keys()):
        raise ValueError(f"{path} and {CONFIG} differ in the parameters {differing}; {_AGAIN}")
    for name, array in arrays.items():
        got = {"shape": list(array.shape), "dtype": array.dtype.name}
        if got != expected[name]:
            raise ValueError(f"{path}: {name} is {got}, {CONFIG} says {expected[name]}; {_AGAIN}")
    params = nested(arrays)
    found = digest_of_parameters(params)
    if found != config["fingerprint"]:
        raise ValueError(
            f"{path} holds another model: its digest is {found[:16]}..., {CONFIG} says "
            f"{config['fingerprint'][:16]}...; {_AGAIN}"
        )
    return params


def _read_function(
    folder: pathlib.Path, name: str, config: Mapping[str, Any], params: Mapping[str, Any]
) -> Callable[..., Any]:
    """Reads one function and checks that it fits the parameters and the configuration."""
    from jax import export

    path = folder / config["functions"][name]["file"]
    try:
        exported = export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # whatever jax fails on, it cannot read the file
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path}, written by jax {config['versions']['jax']}, cannot be read by jax "
            f"{jax.__version__} ({reason}); install that version, or export the model again"
        ) from error
    _check_function(path, name, exported, config, params)
    return jax.jit(exported.call)


def _check_function(
    path: pathlib.Path,
    name: str,
    exported: Any,
    config: Mapping[str, Any],
    params: Mapping[str, Any],
) -> None:
    """Raises ValueError unless a function has this name and takes these parameters and inputs."""
    if exported.fun_name != name:
        raise ValueError(f"{path} holds the function {exported.fun_name}, not {name}; {_AGAIN}")
    wanted = config["functions"][name]["input"]
    arguments, _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    *_, inputs = exported.in_avals
    takes = {key: (x.shape, x.dtype.name) for key, x in flat(arguments[0]).items()}
    given = {key: (x.shape, x.dtype.name) for key, x in flat(params).items()}
    if takes != given or [str(n) for n in inputs.shape] != [str(n) for n in wanted["shape"]]:
        raise ValueError(f"{path} is made for other parameters or inputs; {_AGAIN}")
    classes = len(config["class_names"])
    if name == "sketch_classes" and exported.out_avals[0].shape[-1] != classes:
        raise ValueError(
            f"{path} distinguishes {exported.out_avals[0].shape[-1]} classes, {CONFIG} names {classes}; "
            f"{_AGAIN}"
        )


def _run(
    name: str, config: Mapping[str, Any], call: Callable[..., Any], params: Any, inputs: Any
) -> Any:
    """Runs one function, but only on inputs of its type and range.

    Others, such as photos with values in 0..1, would give wrong features without any error.
    """
    wanted = config["functions"][name]["input"]
    shape, dtype = wanted["shape"], wanted["dtype"]
    got = tuple(np.shape(inputs))
    fits = len(got) == len(shape) and all(
        n == m if isinstance(m, int) else n > 0 for n, m in zip(got, shape, strict=True)
    )
    if not fits or str(getattr(inputs, "dtype", None)) != dtype:
        raise ValueError(
            f"{name} takes {dtype} [{', '.join(map(str, shape))}], got "
            f"{getattr(inputs, 'dtype', type(inputs).__name__)} {list(got)}; README.md shows how to "
            "prepare them"
        )
    if name.startswith("sketch"):
        _check_points(name, inputs, config["preprocessing"]["points"])
    return call(params, inputs)


def _check_points(name: str, points: Any, wanted: Mapping[str, Any]) -> None:
    """Refuses points [b, p, 3], or [b, p, 2] of earlier exports, that are neither on the canvas nor
    padding.
    """
    points, (side, _) = np.asarray(points), wanted["canvas"]
    darkest = wanted.get("darkest")
    on_canvas = (points[..., :2] < side).all(axis=-1)
    if darkest is not None:
        on_canvas &= points[..., 2] <= darkest
    off = ~(on_canvas | (points[..., :2] == wanted["padding"]).all(axis=-1))
    if off.any():
        example, point = np.argwhere(off)[0].tolist()
        darkness = "" if darkest is None else f" and a darkness of 0 to {darkest}"
        raise ValueError(
            f"{name}: point {point} of sketch {example} is {points[example, point].tolist()}, expected 0 "
            f"to {side - 1}{darkness}, or {wanted['padding']} twice for padding; scale the drawing to "
            "the canvas"
        )
