"""Vision transformers: the image towers of SigLIP (and SigLIP 2), CLIP and DINOv2, one network whose
differences are its configuration.

|         | tokens | before the blocks | perceptron | pooled by | feature |
|---|---|---|---|---|---|
| SigLIP  | patches | | GELU (tanh) | attention of a learned query | pooled |
| CLIP    | class token, patches | layer norm | quick GELU | class token | projected |
| DINOv2  | class token, patches | | GELU or SwiGLU, layer scale | class token | class token |
"""

import dataclasses
import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.models.backbone import (
    INPUT,
    Architecture,
    Backbone,
    Feature,
    PixelFormat,
    Trainable,
    check_inputs,
)
from dsf_jax.models.kernels import dropout
from dsf_jax.models.transformer import (
    Encoder,
    Learned,
    attention,
    block_name,
    encoder_block,
    layer_norm,
    perceptron,
)

TITLES = {"siglip": "SigLIP", "clip": "CLIP", "dinov2": "DINOv2"}
EMBEDDED = "embedded"  # activation that the first block, and the norm before it, see
HEAD = "head"  # the layer of our classes
CUBIC = -0.75  # coefficient of PyTorch's bicubic interpolation


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageTower(Encoder):
    """The configuration of a vision transformer.

    Attributes:
      patch: h = w of a patch, in pixels.
      grid: h = w of the grid of patches that the learned positions are of.
      size: h = w of pictures, by default; another one than patch * grid has the positions interpolated.
      class_token: whether a learned token goes before those of the patches.
      patch_bias: whether the patch embedding has a bias.
      pre_norm: whether tokens are normalised before the first block.
      pooling: what stands for the picture: the attention of a learned query to all tokens, or the class
        token.
      projection: dimensions that the pooled vector is projected to; 0 for none.
      scale: divisor of the pixel values 0..255.
      mean: [3] RGB, after scaling.
      deviation: [3] divisors.
    """

    patch: int
    grid: int
    size: int
    class_token: bool
    patch_bias: bool
    pre_norm: bool
    pooling: Literal["attention", "class_token"]
    projection: int
    scale: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Refuses what no picture fits."""
        super().__post_init__()
        if not 0 < self.patch <= self.size or self.grid < 1:
            raise ValueError(
                f"patch={self.patch} must be from 1 to size={self.size}, and grid={self.grid} at least 1; "
                "correct the configuration"
            )
        if not all(0 < divisor < math.inf for divisor in (self.scale, *self.deviation)):
            raise ValueError(
                f"scale={self.scale} and deviation={self.deviation} must be above 0; correct how the folder "
                "has pictures prepared"
            )
        if self.pooling not in ("attention", "class_token"):
            raise ValueError(
                f"pooling={self.pooling!r} is unknown; choose one of attention, class_token"
            )

    @property
    def pooled(self) -> str:
        """Returns the name of the activation that the classifier sees, the default feature's."""
        return "projected" if self.projection else "pooled"

    def layers(self) -> tuple[str, ...]:
        """Names all layers, in order."""
        pool: tuple[str, ...] = ()
        if self.pooling == "attention":
            gate = ("gate",) if self.gated else ()
            pool = ("probe", "query", "key", "value", "output", "norm", *gate, "up", "down")
        return (
            "patches",
            *(("class_token",) if self.class_token else ()),
            "positions",
            *(("pre_norm",) if self.pre_norm else ()),
            *self.block_layers(),
            "final_norm",
            *(f"pool_{part}" for part in pool),
            *(("projection",) if self.projection else ()),
            HEAD,
        )


class Vit(nn.Module):
    """A vision transformer with a layer of `num_classes` outputs on what it pools.

    Attributes:
      num_classes: number k of classes.
      tower: the configuration.
      dropout_rate: probability in [0, 1) of dropping an input of the layer of classes.
      dtype: type that is computed in; parameters, softmax, norms and logits are float32.
    """

    num_classes: int
    tower: ImageTower
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: jax.Array, dropout_keys: jax.Array | None = None, start: str = INPUT
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Runs the network.

        Args:
          inputs: [b, h, w, 3] float32 from `Backbone.preprocess`; what lies beyond the last whole patch
            is not seen. With another start [b, n, d] embedded tokens, or [b, d] what is classified.
          dropout_keys: [b] PRNG keys, one per example, when training; None runs without dropout.
          start: `INPUT`, or the name of the activation that `inputs` are.

        Returns:
          Logits [b, k] float32, and the activations by name in order: embedded [b, n, d]; blockN
          [b, n, d] after each block, the class token first, and mapN [b, h, w, d] without it; patches
          [b, h, w, d] after the last norm, and their mean [b, d]; pooled and projected [b, d]; logits.
        """
        check_inputs(inputs, start, {INPUT: 4, EMBEDDED: 3, self.tower.pooled: 2})
        activations: dict[str, jax.Array] = {}
        x = inputs.astype(self.dtype)
        if start != self.tower.pooled:
            tokens, grid = self._embed(x) if start == INPUT else (x, self._square(x))
            x = self._encode(tokens, grid, activations)
        activations[self.tower.pooled] = x
        if dropout_keys is not None and self.dropout_rate > 0.0:
            x = dropout(x, dropout_keys, 0, self.dropout_rate)
        logits = nn.Dense(self.num_classes, dtype=self.dtype, name=HEAD)(x).astype(jnp.float32)
        activations["logits"] = logits
        return logits, activations

    def _embed(self, x: jax.Array) -> tuple[jax.Array, tuple[int, int]]:
        """Cuts pictures into patches: tokens [b, n, d], and h and w of the grid of patches."""
        tower, patch = self.tower, self.tower.patch
        if min(x.shape[1:3]) < patch:
            raise ValueError(
                f"pictures of {x.shape[1]} x {x.shape[2]} hold no patch of {patch} x {patch}; enlarge them"
            )
        embed = nn.Conv(
            tower.width, (patch, patch), (patch, patch), "VALID",
            use_bias=tower.patch_bias, dtype=self.dtype, name="patches",
        )  # fmt: skip
        x = embed(x)
        grid = x.shape[1], x.shape[2]
        x = x.reshape(x.shape[0], grid[0] * grid[1], tower.width)
        normal = nn.initializers.normal(0.02)
        count = tower.grid**2 + tower.class_token
        positions = Learned("embedding", (count, tower.width), normal, name="positions")()
        if tower.class_token:
            token = Learned("embedding", (1, tower.width), normal, name="class_token")()
            first = jnp.broadcast_to(token.astype(x.dtype)[None], (x.shape[0], 1, tower.width))
            x = jnp.concatenate([first, x], axis=1)
        positions = resized_positions(positions, tower.grid, grid)
        return x + positions.astype(x.dtype)[None], grid

    def _square(self, tokens: jax.Array) -> tuple[int, int]:
        """Returns h and w of the grid that embedded tokens are of: kept ones are of square pictures."""
        side = math.isqrt(tokens.shape[1] - self.tower.class_token)
        return side, side

    def _encode(
        self, x: jax.Array, grid: tuple[int, int], activations: dict[str, jax.Array]
    ) -> jax.Array:
        """Runs the blocks and pools what they give: [b, n, d] -> [b, d]."""
        tower, first = self.tower, int(self.tower.class_token)

        def map_of(tokens: jax.Array) -> jax.Array:
            return tokens[:, first:].reshape(tokens.shape[0], *grid, tower.width)

        activations[EMBEDDED] = x
        if tower.pre_norm:
            x = layer_norm(x, "pre_norm", tower, self.dtype)
        for number in range(tower.depth):
            name = block_name(number)
            activations[name] = x = encoder_block(x, name, tower, self.dtype)
            activations[_map_name(number)] = map_of(x)
        x = layer_norm(x, "final_norm", tower, self.dtype)
        activations["patches"] = map_of(x)
        activations["mean"] = x[:, first:].mean(axis=1)
        x = self._attended(x) if tower.pooling == "attention" else x[:, 0]
        activations["pooled"] = x
        if tower.projection:
            x = nn.Dense(
                tower.projection, use_bias=False, dtype=self.dtype, name="projection"
            )(x)  # fmt: skip
        return x

    def _attended(self, tokens: jax.Array) -> jax.Array:
        """Pools by the attention of a learned query, [b, n, d] -> [b, d]."""
        tower = self.tower
        normal = nn.initializers.normal(0.02)
        probe = Learned("embedding", (1, tower.width), normal, name="pool_probe")()
        query = jnp.broadcast_to(
            probe.astype(tokens.dtype)[None], (tokens.shape[0], 1, tower.width)
        )
        x = attention(query, tokens, "pool_", tower, self.dtype)
        normed = layer_norm(x, "pool_norm", tower, self.dtype)
        return (x + perceptron(normed, "pool_", tower, self.dtype))[:, 0]


def _map_name(number: int) -> str:
    return f"map{number + 1}"


def resized_positions(positions: jax.Array, grid: int, wanted: tuple[int, int]) -> jax.Array:
    """Interpolates learned positions for another grid, bicubically as PyTorch does, without smoothing
    where it is a smaller one.

    Args:
      positions: [grid * grid, d], or one more of a class token before them, which stays as it is.
      grid: h = w of the grid that they are of.
      wanted: h and w of the grid wanted.

    Returns:
      [h * w, d], and that of the class token before them where there was one.
    """
    if wanted == (grid, grid):
        return positions
    first, rest = jnp.split(positions, [len(positions) - grid * grid])
    rows, columns = (jnp.asarray(bicubic_weights(grid, count)) for count in wanted)
    field = rest.reshape(grid, grid, -1)
    resized = jnp.einsum("ij,jkd,lk->ild", rows, field, columns, precision="highest")
    return jnp.concatenate([first, resized.reshape(wanted[0] * wanted[1], -1)])


def bicubic_weights(old: int, new: int) -> np.ndarray:
    """Returns what each of `new` places takes of `old` ones, [new, old] float32: cubic convolution with
    a = -.75, cells aligned at their corners, and the border's values repeated beyond it.
    """
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    below = np.floor(centre).astype(int)
    weights = np.zeros((new, old))
    for tap in range(-1, 3):
        distance = np.abs(centre - below - tap)
        near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
        far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
        places = np.clip(below + tap, 0, old - 1)
        np.add.at(weights, (np.arange(new), places), np.where(distance <= 1, near, far))
    return weights.astype(np.float32)


def architecture_of(tower: ImageTower) -> Architecture:
    """Returns a configuration as models keep it."""
    return tuple(dataclasses.asdict(tower).items())


def vit_backbone(name: str, architecture: Architecture) -> Backbone:
    """Describes the vision transformer of a configuration.

    Args:
      name: family that it is of, one of `TITLES`.
      architecture: configuration, from `architecture_of`.

    Raises:
      ValueError: for a configuration that is none.
    """
    try:
        tower = ImageTower(**dict(architecture))
    except TypeError as error:
        raise ValueError(
            f"the architecture of backbone={name} is not that of a vision transformer ({error}); port "
            "the network again with python -m launch.port_weights"
        ) from error
    layers, features = tower.layers(), _features(tower)
    maps = _maps(tower)
    return Backbone(
        name=name,
        title=f"{TITLES[name]}'s vision transformer ({tower.depth} blocks of {tower.width}, patches of "
        f"{tower.patch})",
        build=functools.partial(Vit, tower=tower),
        pixels=PixelFormat("RGB", tower.scale, tower.mean, tower.deviation),
        size=tower.size,
        layers=layers,
        features=features,
        compared_features=(next(iter(features)), "patch mean"),
        default_feature=next(iter(features)),
        trainable=_trainable(tower),
        maps=maps,
        explained="patches",
        measured=(*maps, tower.pooled),
        inverted=(*maps, tower.pooled),
        shown_at_once=8,
    )


def _features(tower: ImageTower) -> dict[str, Feature]:
    """Names the features, the default one first."""
    pooled = "class token" if tower.pooling == "class_token" else "pooled"
    named = {"projected": Feature(("projected",))} if tower.projection else {}
    named |= {pooled: Feature(("pooled",)), "patch mean": Feature(("mean",))}
    both = {f"{pooled} + patch mean": Feature(("pooled", "mean"))}
    return named | both


def _trainable(tower: ImageTower) -> dict[str, Trainable]:
    layers = tower.layers()
    norms = tuple(layer for layer in layers if "norm" in layer)
    return {
        "all": Trainable(layers, INPUT),
        "norms": Trainable((*norms, HEAD), EMBEDDED),
        "head": Trainable((HEAD,), tower.pooled),
    }


def _maps(tower: ImageTower) -> tuple[str, ...]:
    """Names the maps after each quarter of the blocks, and those after the last norm."""
    quarters = sorted({math.ceil(tower.depth * i / 4) for i in range(1, 5)})
    return (*(_map_name(number - 1) for number in quarters), "patches")
