"""The architectures that there are, by name: networks of one shape each, and families of networks whose
shape is a configuration.
"""

import functools
from collections.abc import Callable, Mapping

from dsf_jax.models import vit
from dsf_jax.models.alexnet import CAFFE, TORCHVISION
from dsf_jax.models.backbone import Architecture, Backbone
from dsf_jax.models.efficientnet_lite import LITE0, LITE1, LITE2
from dsf_jax.models.sketch_a_net import SKETCH_A_NET

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone for backbone in (CAFFE, TORCHVISION, SKETCH_A_NET, LITE0, LITE1, LITE2)
}
FAMILIES: Mapping[str, Callable[[str, Architecture], Backbone]] = dict.fromkeys(
    vit.TITLES, vit.vit_backbone
)


def backbone_named(name: str, architecture: Architecture = ()) -> Backbone:
    """Returns a backbone.

    Args:
      name: name of a network, or of a family.
      architecture: configuration of a network of a family, as its weights bring it.

    Raises:
      ValueError: for an unknown name, or a family without its configuration.
    """
    if name in FAMILIES:
        return _of_family(name, architecture)
    if name not in BACKBONES:
        known = ", ".join((*BACKBONES, *FAMILIES))
        raise ValueError(f"backbone={name!r} is unknown; choose one of {known}")
    return BACKBONES[name]


@functools.cache
def _of_family(name: str, architecture: Architecture) -> Backbone:
    if not architecture:
        raise ValueError(
            f"backbone={name} is a family of networks, and the folder of its weights says which; port it "
            "with python -m launch.port_weights --source=FOLDER, and start from that"
        )
    return FAMILIES[name](name, architecture)
