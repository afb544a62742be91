"""An embedding above any backbone: the space that a loss shapes, and that pictures are searched in.

The backbone's last layer gives d numbers instead of one per class. They are brought to length 1, and
so is a vector per class: a logit is `SCALE` times the cosine between the two.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsf_jax.models.backbone import INPUT, Backbone, Feature, Trainable
from dsf_jax.models.kernels import l2_normalise

EMBEDDING = "embedding"  # the activation, and the feature that it is
CLASS_VECTORS = "class_vectors"
DIMENSION = 512
# Cosines lie within 1 of each other: a softmax of them alone could never be sure. 16 lets the right one
# of 250 classes reach .99.
SCALE = 16.0


class Embedded(nn.Module):
    """A backbone whose last layer gives an embedding.

    Attributes:
      trunk: network whose outputs are the embedding, before it is brought to length 1.
      num_classes: number k of classes.
    """

    trunk: nn.Module
    num_classes: int

    @property
    def grey_layer(self) -> str | None:
        """Returns the trunk's; see `Backbone.grey_layer`."""
        layer: str | None = getattr(self.trunk, "grey_layer", None)
        return layer

    def setup(self) -> None:
        """Keeps the trunk's layers under their own names."""
        nn.share_scope(self, self.trunk)

    @nn.compact
    def __call__(
        self, inputs: jax.Array, dropout_keys: jax.Array | None = None, start: str = INPUT
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Runs the network.

        Args:
          inputs: what the trunk takes.
          dropout_keys: [b] PRNG keys, one per example, when training; None runs without dropout.
          start: `INPUT`, or the name of the activation that `inputs` are.

        Returns:
          Logits [b, k] float32, `SCALE` times cosines; the trunk's activations by name in order, and
          the embedding [b, d] float32 of length 1.
        """
        outputs, activations = self.trunk(inputs, dropout_keys, start)
        embedding = l2_normalise(outputs)
        kernel = _ClassVectors((outputs.shape[-1], self.num_classes), name=CLASS_VECTORS)()
        logits = SCALE * jnp.matmul(embedding, l2_normalise(kernel.T).T)
        return logits, activations | {EMBEDDING: embedding}


class _ClassVectors(nn.Module):
    """One vector per class [d, k], whose length does not matter."""

    shape: tuple[int, int]

    @nn.compact
    def __call__(self) -> jax.Array:
        start = nn.initializers.normal(self.shape[0] ** -0.5)
        kernel: jax.Array = self.param("kernel", start, self.shape, jnp.float32)
        return kernel


@functools.cache
def embedded(backbone: Backbone, dimension: int) -> Backbone:
    """Describes a backbone with an embedding layer.

    Args:
      backbone: any.
      dimension: numbers d of the embedding.

    Returns:
      A backbone of the same name, whose default feature is the embedding.
    """
    backbone = backbone.under_embedding or backbone

    def build(num_classes: int, **options: Any) -> Embedded:
        return Embedded(backbone.build(dimension, **options), num_classes)

    return dataclasses.replace(
        backbone,
        title=f"{backbone.title} with an embedding of {dimension}",
        build=build,
        layers=(*backbone.layers, CLASS_VECTORS),
        features={EMBEDDING: Feature((EMBEDDING,)), **backbone.features},
        compared_features=(EMBEDDING, *backbone.compared_features),
        default_feature=EMBEDDING,
        trainable={
            name: Trainable((*choice.layers, CLASS_VECTORS), choice.start)
            for name, choice in backbone.trainable.items()
        },
        measured=(*backbone.measured, EMBEDDING),
        torch_names=backbone.torch_names and {**backbone.torch_names, CLASS_VECTORS: CLASS_VECTORS},
        caffe_network=None,
    )
