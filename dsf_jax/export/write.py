"""Writes a model for use without this package: a folder that jax alone serves from, a .caffemodel,
or a PyTorch state dict.
"""

import contextlib
import importlib.metadata
import inspect
import json
import os
import pathlib
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from safetensors.numpy import save

from dsf_jax.data.files import new_folder, write_atomic
from dsf_jax.export import load
from dsf_jax.export.weights import caffemodel, state_dict
from dsf_jax.images.points import CANVAS, DARKEST, PADDED_LENGTHS, PADDING
from dsf_jax.images.views import PHOTO_SIZE, VIEW_ANGLES
from dsf_jax.models.backbone import Params
from dsf_jax.models.model import Model
from dsf_jax.recognition.voting import vote
from dsf_jax.retrieval.features import embed_layers
from dsf_jax.training.checkpoints import FOLDER, check_space, save_model

PLATFORMS = ("cpu", "cuda", "tpu")
LOADER = "load.py"
README = "README.md"
_PACKAGES = (
    "dsf_jax",
    "jax",
    "jaxlib",
    "numpy",
    "flax",
    "orbax-checkpoint",
    "safetensors",
    "flatbuffers",
)


class _Function(NamedTuple):
    """What is exported under one name."""

    call: Callable[[Model, dict[str, jax.Array]], Any]
    field: str  # field of the batch that its input becomes


def write_export(folder: str | os.PathLike[str], model: Model) -> None:
    """Writes a model as a folder that runs without this package; `load_export` reads it, here or from
    the copy in the folder.

    It holds the parameters (params.safetensors, and as a checkpoint of this package), three
    functions compiled to StableHLO with the parameters as arguments, config.json with what they
    are and the SHA-256 of every file, and a README.md to start from.

    Args:
      folder: folder that must not exist. It appears under its name when it is complete.
      model: network with its parameters.

    Raises:
      FileExistsError: when the folder is there already.
      OSError: when the disk has too little space.
      ValueError: for values that are not finite, or a model that does not take drawings as points.
    """
    folder = pathlib.Path(folder).absolute()
    if model.config.resizing != "edge_preserving":
        raise ValueError(
            f"the model was trained with resizing={model.config.resizing}, and what is exported takes "
            "points; export a model trained with edge_preserving, or only its weights with another "
            "format"
        )
    check_space(folder.parent, (model.params, model.params))
    model = model.replace(params=finite(model.params))
    with new_folder(folder) as part:
        _fill(part, model, _export_functions(model))


def _fill(part: pathlib.Path, model: Model, functions: Mapping[str, export.Exported]) -> None:
    """Writes the files of an export folder."""
    save_model(part / FOLDER, model)
    _forget_paths(part / FOLDER)
    (part / load.PARAMS).write_bytes(save(load.flat(model.params)))
    for name, function in functions.items():
        (part / _file_of(name)).write_bytes(function.serialize())
    (part / LOADER).write_text(inspect.getsource(load), encoding="utf-8")
    # Last: it has the digests of the rest, but for the README, which people may add to.
    (part / load.CONFIG).write_text(_config(model, functions, part), encoding="utf-8")
    (part / README).write_text(_readme(model), encoding="utf-8")


def write_caffemodel(path: str | os.PathLike[str], model: Model) -> None:
    """Writes parameters for Caffe, to be loaded with the network's prototxt.

    Args:
      path: the .caffemodel; replaced if it exists.
      model: network with its parameters.

    Raises:
      ValueError: for a backbone that Caffe does not know, or values that are not finite.
      OSError: when it cannot be written, or the disk has too little space.
    """
    content = caffemodel(model)
    check_space(pathlib.Path(path).absolute().parent, model.params)
    write_atomic(path, content)


def write_state_dict(path: str | os.PathLike[str], model: Model) -> None:
    """Writes parameters for PyTorch, under the backbone's names there.

    Args:
      path: the .pth; replaced if it exists.
      model: network with its parameters.

    Raises:
      ValueError: for a backbone that PyTorch does not know, or values that are not finite.
      OSError: when it cannot be written, or the disk has too little space.
    """
    content = state_dict(model)
    check_space(pathlib.Path(path).absolute().parent, model.params)
    write_atomic(path, content)


def finite(params: Params) -> dict[str, dict[str, np.ndarray]]:
    """Fetches parameters, contiguous as safetensors takes them to be, and refuses broken ones."""
    host = jax.tree.map(np.ascontiguousarray, jax.device_get(params))
    for name, array in load.flat(host).items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite; take an earlier checkpoint")
    return host


def _exported_features(model: Model) -> tuple[str, ...]:
    """Returns the names of the features that an export computes."""
    backbone = model.backbone
    return tuple(
        dict.fromkeys(
            (*backbone.compared_features, backbone.default_feature, model.default_feature)
        )
    )


def _features(model: Model, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return embed_layers(model, batch, _exported_features(model))


_FUNCTIONS = {
    "photo_features": _Function(_features, "photo"),
    "sketch_features": _Function(_features, "points"),
    "sketch_classes": _Function(vote, "points"),
}


def _inputs() -> dict[str, jax.ShapeDtypeStruct]:
    """Symbolic in b, and in p: short drawings need no long padding, and none is too long."""
    b, p = export.symbolic_shape("b, p")
    return {
        "photo": jax.ShapeDtypeStruct((b, PHOTO_SIZE, PHOTO_SIZE, 3), jnp.uint8),
        "points": jax.ShapeDtypeStruct((b, p, 3), jnp.uint16),
    }


def _export_functions(model: Model) -> dict[str, export.Exported]:
    """Lowers each function for all platforms, parameters being its first argument."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), model.params)
    inputs = _inputs()
    with _no_source_paths():
        return {
            name: export.export(jax.jit(_named(name, function, model)), platforms=PLATFORMS)(
                shapes, inputs[function.field]
            )
            for name, function in _FUNCTIONS.items()
        }


def _named(name: str, function: _Function, model: Model) -> Callable[[Params, jax.Array], Any]:
    """Makes a function of parameters and inputs.

    Its name goes into the exported function, where the loader compares it with the file's.
    """

    def call(params: Params, inputs: jax.Array) -> Any:
        return function.call(model.replace(params=params), {function.field: inputs})

    call.__name__ = name
    return call


@contextlib.contextmanager
def _no_source_paths() -> Iterator[None]:
    """Keeps the paths of this machine's source files out of what is lowered."""
    # Before 0.7.2 jax gives one frame in any case: of its file nothing is left.
    options = {
        "jax_traceback_in_locations_limit": 0,
        "jax_hlo_source_file_canonicalization_regex": ".*",
    }
    before = {option: getattr(jax.config, option) for option in options}
    for option, value in options.items():
        jax.config.update(option, value)
    try:
        yield
    finally:
        for option, value in before.items():
            jax.config.update(option, value)


def _forget_paths(folder: pathlib.Path) -> None:
    """Removes the names of this machine's folders from the files by which orbax marks what is complete;
    it only asks whether they exist.
    """
    for mark in folder.rglob("commit_success.txt"):
        mark.write_text("complete\n", encoding="utf-8")


def _file_of(name: str) -> str:
    return f"{name}.stablehlo"


def _config(model: Model, functions: Mapping[str, export.Exported], folder: pathlib.Path) -> str:
    """Describes what lies in the folder, and takes every file's digest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    backbone = model.backbone
    config = {
        "format": load.FORMAT,
        "variant": backbone.name,  # what earlier versions called the backbone
        **model.config.to_json(),
        "feature_layers": {
            name: backbone.features[name].activations for name in _exported_features(model)
        },
        "preprocessing": _preprocessing(model),
        "functions": {
            name: {"file": _file_of(name), "input": _described(function.in_avals[-1])}
            for name, function in functions.items()
        },
        "platforms": PLATFORMS,
        # jax runs what earlier versions exported, for half a year; the other way round it promises
        # three weeks.
        "minimum_jax": jax.__version__,
        "calling_convention_version": functions["sketch_classes"].calling_convention_version,
        "versions": {name: _version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "params": {name: _described(x) for name, x in load.flat(model.params).items()},
        "fingerprint": load.digest_of_parameters(model.params),
        "checkpoint_fingerprint": model.digest(),  # digest of the checkpoint in the folder
        "files": {path.relative_to(folder).as_posix(): load.file_digest(path) for path in files},
    }
    config["checksum"] = load.checksum(config)
    return json.dumps(config, indent=1, ensure_ascii=False) + "\n"


def _described(array: Any) -> dict[str, Any]:
    shape = [n if isinstance(n, int) else str(n) for n in array.shape]
    return {"shape": shape, "dtype": array.dtype.name}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a copy that is not installed
        return None


def _preprocessing(model: Model) -> dict[str, Any]:
    pixels = model.backbone.pixels
    return {
        "photo": {
            "by": "caller",
            "channels": "RGB",
            "size": [PHOTO_SIZE, PHOTO_SIZE],
            "resize": "the whole photo, whatever its shape; linear, anti-aliased (Pillow's BILINEAR)",
        },
        "points": {
            "by": "caller",
            "columns": ["x", "y", "darkness"],
            "canvas": [CANVAS, CANVAS],
            "darkest": DARKEST,
            "strokes": "as in training, where they are thinned to one-pixel lines unless the data set was "
            "built otherwise; each cell with ink once",
            "padding": PADDING,
            "lengths": PADDED_LENGTHS,
        },
        "network_input": {
            "by": "function",
            "size": [model.size, model.size],
            "channels": pixels.order,
            "divided_by": pixels.scale,
            "mean": np.asarray(pixels.mean, np.float32).tolist(),
            "deviation": np.asarray(pixels.deviation, np.float32).tolist(),
            "sketch": "black strokes on white",
            "views_voted": len(VIEW_ANGLES),
        },
    }


def _readme(model: Model) -> str:
    random = ""
    if fresh := model.config.fresh_layers:
        random = (
            f"\nThe layers {', '.join(fresh)} have random values still: they were not trained, "
            "and what depends on them means nothing.\n"
        )
    return _README.format(
        title=model.backbone.title, classes=len(model.class_names), size=model.size, random=random,
        features=", ".join(f'"{name}"' for name in _exported_features(model)),
        feature=model.default_feature,
        canvas=CANVAS, last=CANVAS - 1, darkest=DARKEST, padding=PADDING, photo=PHOTO_SIZE,
        lengths=", ".join(map(str, PADDED_LENGTHS)), views=len(VIEW_ANGLES),
        jax=jax.__version__, platforms=", ".join(PLATFORMS), checkpoints=FOLDER,
    )  # fmt: skip


_README = """# A sketch-based image retrieval model

{title}, {classes} classes, inputs of {size} x {size}. It runs on {platforms} with
`pip install "jax>={jax}" flatbuffers numpy safetensors`; dsf_jax, which made it, is not needed.
{random}
In this folder:

```python
import numpy as np
from load import load_export

model = load_export(".")  # compares every file with config.json first
photos = np.random.default_rng(0).integers(0, 256, (3, {photo}, {photo}, 3)).astype(np.uint8)
gallery = np.asarray(model.photo_features(photos)["{feature}"])
points = np.full((1, 512, 3), {padding}, np.uint16)
points[0, :401] = [(x, x, {darkest}) for x in range(140, 541)]  # a sketch of one straight stroke
query = np.asarray(model.sketch_features(points)["{feature}"])
print("nearest photo:", np.linalg.norm(gallery - query, axis=1).argmin())
print("class:", model.config["class_names"][model.sketch_classes(points)[0].argmax()])
```

| function | takes | gives |
|---|---|---|
| `photo_features` | [b, {photo}, {photo}, 3] uint8: photos | {{{features}: [b, d] float32}} |
| `sketch_features` | [b, p, 3] uint16: points of sketches | the same |
| `sketch_classes` | [b, p, 3] uint16: points of sketches | [b, {classes}] float32: probabilities |

- **Photos** are RGB, the whole photo resized to a square whatever its shape, linearly and
  anti-aliased (Pillow's BILINEAR).
- **Points** (x, y, darkness) are the cells with ink of a square canvas of {canvas} x {canvas}, x to the
  right and y down, 0 to {last}; the darkness is how hard the pen was pressed, 1 to {darkest}, and
  {darkest} where nobody knows. The drawing fills the canvas, strokes are one cell thin, and each cell is
  listed once. Shorter lists are filled up with {padding}.
- **Features** have length 1 and are compared by Euclidean distance: smaller is more alike.
- **Probabilities** are the mean over {views} views of the sketch, in the order of
  `model.config["class_names"]`.
- **Shapes** are free in b and p, and each new one is compiled when it is first met: keep to one b,
  and to a few lengths p ({lengths}).
- `config.json` describes the model; `fingerprint` there is the digest of its parameters. `load.py` may be
  copied to where you need it: `load_export` takes the path of this folder.
- **How long it can be read:** jax reads exported functions for at least six months after the release
  that wrote them, here jax {jax}; later releases of jax may refuse them, and `load_export` says so.
  Keep to that version of jax, or make the folder again. `{checkpoints}/` and `params.safetensors` do not
  grow old; with dsf_jax,

  ```
  python -m launch.export --checkpoint=THIS_FOLDER --out=NEW_FOLDER
  ```
- `{checkpoints}/` is the same model for training on with dsf_jax, whose `--checkpoint` and `--init`
  take this folder. Serving does not read it; without it, the folder cannot be made again.
"""
