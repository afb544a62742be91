"""The architectures that there are, by name."""

from dsf_jax.models.alexnet import CAFFE, TORCHVISION
from dsf_jax.models.backbone import Backbone
from dsf_jax.models.efficientnet_lite import LITE0, LITE1, LITE2
from dsf_jax.models.sketch_a_net import SKETCH_A_NET

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone for backbone in (CAFFE, TORCHVISION, SKETCH_A_NET, LITE0, LITE1, LITE2)
}


def backbone_named(name: str) -> Backbone:
    """Returns a backbone; ValueError for an unknown name."""
    if name not in BACKBONES:
        raise ValueError(f"backbone={name!r} is unknown; choose one of {', '.join(BACKBONES)}")
    return BACKBONES[name]
