"""A model's image network as one ONNX file. jax2onnx writes it, and what a runtime computes with it is
compared with the model before the file appears.
"""

import contextlib
import io
import json
import logging
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from dsf_jax.data.drawings import FILLED
from dsf_jax.data.files import write_atomic
from dsf_jax.data.mixtures import EDGE_PRESERVING
from dsf_jax.export.write import finite
from dsf_jax.images.resize import BINARY_PEN
from dsf_jax.images.views import MARGIN, PHOTO_SIZE
from dsf_jax.models.kernels import portable_forms
from dsf_jax.models.model import Model
from dsf_jax.training.checkpoints import check_space

IMAGES, OUTPUTS = "images", ("features", "logits")
LARGEST = 2**31 - 1  # bytes of a protocol buffer
# Of the largest value, between two runtimes: rounding is far below it, also that of GPUs' short
# products, and another network far above.
TOLERANCE = 1e-2
COUNTS = (1, 3)  # of pictures that are compared


def write_onnx(path: str | os.PathLike[str], model: Model) -> None:
    """Writes a model's image network as an ONNX file with its parameters.

    It takes "images" [b, size, size, 3] uint8 RGB, for any b, and gives "features" [b, d] float32 of
    length 1, those that pictures are searched by, and "logits" [b, k] float32. The file's metadata say
    what the images are, and name the classes.

    Args:
      path: the .onnx; replaced if it exists.
      model: network with its parameters.

    Raises:
      ImportError: when jax2onnx is not installed.
      OSError: when it cannot be written, or the disk has too little space.
      ValueError: for values that are not finite, parameters that no ONNX file can hold, or when what was
        written does not compute what the model does.
    """
    path = pathlib.Path(path).absolute()
    model = model.replace(params=finite(model.params), dtype=jnp.float32)
    size = sum(array.nbytes for array in jax.tree.leaves(model.params))
    if size > LARGEST:
        raise ValueError(
            f"the parameters have {size} bytes, and an ONNX file holds {LARGEST} at most; write a folder "
            "with --format=stablehlo instead"
        )
    check_space(path.parent, model.params)
    content = _converted(model)
    _check(content, model)
    write_atomic(path, content)


def _converted(model: Model) -> bytes:
    """Encodes a model's image network as an ONNX file."""
    with _quiet():
        try:
            import jax2onnx
            import onnx
        except ImportError as error:
            raise ImportError(
                "jax2onnx, which writes ONNX files, is not installed; run `pip install jax2onnx` or "
                "install this project's extra `onnx`"
            ) from error
        (batch,) = export.symbolic_shape("b")
        images = jax.ShapeDtypeStruct((batch, model.size, model.size, 3), jnp.uint8)
        with portable_forms(), jax.numpy_rank_promotion("allow"):
            proto = jax2onnx.to_onnx(
                lambda images: _outputs(model, images),
                [images],
                model_name=model.backbone.name,
                input_names=[IMAGES],
                output_names=list(OUTPUTS),
            )
    onnx.helper.set_model_props(proto, _metadata(model))
    return proto.SerializeToString()


def _outputs(model: Model, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes what the file's outputs are of."""
    logits, activations = model(images)
    return model.features(activations, model.default_feature), logits


def _metadata(model: Model) -> dict[str, str]:
    """Says what the file's inputs and outputs are; values are text, as ONNX has it."""
    size, pen = model.size, model.config.pen
    photo = PHOTO_SIZE if size <= PHOTO_SIZE else size + MARGIN
    resizing = model.config.resizing
    strokes = "one pixel wide" if pen == BINARY_PEN else f"{pen:g} pixels wide, anti-aliased"
    if resizing != EDGE_PRESERVING:
        strokes = f"resized with resizing={resizing}"
    return {
        "photos": f"resized to {photo} x {photo} whatever their shape, linearly and anti-aliased; the middle "
        f"{size} x {size} of that",
        "drawings": f"black on white, strokes {strokes}; in the middle, the longer side {FILLED:.0%} of the picture's",
        "feature": model.default_feature,
        "classes": json.dumps(model.class_names, ensure_ascii=False),
        "random_layers": json.dumps(model.config.fresh_layers),
        "fingerprint": model.digest(),
    }


def _check(content: bytes, model: Model) -> None:
    """Raises ValueError unless a runtime computes what the model does, for two numbers of pictures."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    shape = (max(COUNTS), model.size, model.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    computed = [np.asarray(output) for output in jax.jit(_outputs)(model, images)]
    for count in COUNTS:
        found = session.run(list(OUTPUTS), {IMAGES: images[:count]})
        for name, ours, theirs in zip(OUTPUTS, computed, found, strict=True):
            _compare(f"{name} of {count} pictures", ours[:count], theirs)


def _compare(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raises ValueError unless arrays are equal, to rounding."""
    if ours.shape != theirs.shape:
        raise ValueError(
            f"what jax2onnx wrote computes {what} of shape {theirs.shape}, the model of {ours.shape}; "
            f"nothing was written: {_OTHER}"
        )
    difference, allowed = np.abs(ours - theirs).max(), TOLERANCE * np.abs(ours).max()
    if not difference <= allowed:
        raise ValueError(
            f"what jax2onnx wrote computes {what} that differ by {difference:.2g} from the model's, and "
            f"{allowed:.2g} is allowed; nothing was written: {_OTHER}"
        )


_OTHER = "install another version of jax2onnx, or write another --format"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what jax2onnx prints of its work from the screen, and which of its parts do not fit this jax:
    the one that is needed fails by itself.
    """
    loggers: list[Any] = [logging.getLogger(name) for name in ("jax2onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
