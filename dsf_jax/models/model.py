"""A network with its parameters and all that belongs to it, as one object that passes through jit, vmap
and grad: the only place that preprocesses and applies.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.export.load import digest_of_parameters
from dsf_jax.images import views
from dsf_jax.images.hand import STEADY, Hand
from dsf_jax.images.resize import BINARY_PEN, PEN
from dsf_jax.images.views import QueryViews, Resizing
from dsf_jax.models.backbone import INPUT, Architecture, Backbone, Params
from dsf_jax.models.backbones import backbone_named
from dsf_jax.models.embedding import embedded
from dsf_jax.models.kernels import by_platform, l2_normalise
from dsf_jax.models.model_card import ModelCard


class ModelConfig(NamedTuple):
    """What a model is, besides its parameters; JSON in checkpoints.

    Attributes:
      backbone: name of the architecture.
      class_names: [k] in label order.
      size: h = w of the network's input.
      fresh_layers: layers whose values are random still.
      resizing: how drawings are resized before the network sees them.
      pen: width of the pen that draws points, in pixels of the input; `BINARY_PEN` is the paper's map.
      architecture: configuration of the backbone, where its name is that of a family.
      embedding: numbers d of the embedding above the backbone; 0 for none.
    """

    backbone: str
    class_names: tuple[str, ...]
    size: int
    fresh_layers: tuple[str, ...]
    resizing: Resizing = "edge_preserving"
    pen: float = PEN
    architecture: Architecture = ()
    embedding: int = 0

    def described(self) -> Backbone:
        """Returns what the library knows of the architecture, the embedding included."""
        backbone = backbone_named(self.backbone, self.architecture)
        return embedded(backbone, self.embedding) if self.embedding else backbone

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return self._asdict() | {"architecture": dict(self.architecture)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ModelConfig":
        """Reads a configuration, also one of the time when a backbone was called a variant, and what
        networks were trained on was drawn by no pen.
        """
        pen = PEN if content["fresh_layers"] else BINARY_PEN  # untrained, it has seen no drawing
        content = {"pen": pen} | dict(content)
        own = {"backbone": content["variant"]} if "variant" in content else {}
        own |= {name: content[name] for name in cls._fields if name in content}
        for name in ("class_names", "fresh_layers"):
            own[name] = tuple(own[name])
        own["architecture"] = tuple(
            (name, tuple(value) if isinstance(value, list) else value)
            for name, value in dict(own.get("architecture", ())).items()
        )
        return cls(**own)


class Model(flax.struct.PyTreeNode):
    """A network that is ready to run. Parameters are its leaves; all else is static.

    Attributes:
      params: {layer: {name: array}} float32.
      config: what the model is.
      dtype: type that the network computes in.
      card: what it was trained on, and how well it retrieves.

    Examples:
      >>> model = init_model(ModelConfig("sketch_a_net", ("cat", "dog"), size=81, fresh_layers=()), seed=0)
      >>> drawings = np.full((5, 81, 81), 255, np.uint8)
      >>> logits, activations = jax.jit(Model.__call__)(model, drawings)
      >>> logits.shape, activations["relu6"].shape
      ((5, 2), (5, 512))
      >>> model.default_feature, model.features(activations, "L6+L7").shape
      ('L6+L7', (5, 1024))
    """

    params: Params
    config: ModelConfig = flax.struct.field(pytree_node=False)
    dtype: Any = flax.struct.field(pytree_node=False, default=jnp.float32)
    card: ModelCard = flax.struct.field(pytree_node=False, default=ModelCard())

    @property
    def backbone(self) -> Backbone:
        """Returns what the library knows of the architecture."""
        return self.config.described()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Returns the names of the classes, [k], in label order."""
        return self.config.class_names

    @property
    def size(self) -> int:
        """Returns h = w of the network's input."""
        return self.config.size

    @property
    def default_feature(self) -> str:
        """Returns the feature that pictures are searched by: the best on data held out from training,
        or, where none was compared, the backbone's.
        """
        best = self.card.best_feature
        return best if best in self.backbone.features else self.backbone.default_feature

    def __call__(self, *images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Shows pictures to the network.

        Args:
          *images: [b, h, w] grey or [b, h, w, 3] RGB, uint8, of the network's size; of several kinds the
            answers follow each other.

        Returns:
          Logits [b, k] float32, and the activations by name.
        """
        return self.infer(self.backbone.inputs(images))

    def infer(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Runs the network as `apply` does, on CPUs with no more inputs at once than do well in the cache;
        for answers, not for gradients.

        Args:
          inputs: [b, h, w, 3] or [b, h, w, 1] float32 from `Backbone.inputs`.

        Returns:
          Logits [b, k] float32, and the activations by name.
        """
        count, most = inputs.shape[0], self.backbone.shown_at_once
        # What is exported for any number of pictures leaves the number open.
        if most is None or not isinstance(count, int) or count <= most:
            return self.apply(inputs)
        in_parts = functools.partial(_in_parts, self.apply, -(-count // most))
        return by_platform(inputs, cpu=in_parts, default=self.apply)

    def apply(
        self,
        inputs: jax.Array,
        dropout_keys: jax.Array | None = None,
        *,
        dropout_rate: float = 0.0,
        start: str = INPUT,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Runs the network.

        Args:
          inputs: [b, h, w, 3] or, of grey pictures alone, [b, h, w, 1] float32 from `Backbone.inputs`,
            or [b, ...] activations.
          dropout_keys: [b] PRNG keys, one per example, when training; None runs without dropout.
          dropout_rate: probability in [0, 1) of dropping a value.
          start: `INPUT`, or the name of the activation that `inputs` are.

        Returns:
          Logits [b, k] float32, and the activations by name.
        """
        module = self.backbone.build(
            len(self.class_names), dropout_rate=dropout_rate, dtype=self.dtype
        )
        params = self.params
        if start == INPUT and inputs.shape[-1] == 1 and self.backbone.grey_layer:
            params = self.backbone.seeing_grey(params)
        outputs: Any = module.apply({"params": params}, inputs, dropout_keys, start)
        return outputs

    def features(self, activations: Mapping[str, jax.Array], layer: str) -> jax.Array:
        """Makes one kind of feature from the network's activations (section 3.4 of the paper).

        Args:
          activations: {name: [b, ...]}.
          layer: name of a feature of the backbone.

        Returns:
          [b, d] float32 of length 1.

        Raises:
          ValueError: for an unknown feature.
        """
        feature = self.backbone.feature(layer)
        parts = [activations[name].astype(jnp.float32) for name in feature.activations]
        flat = [part.reshape(part.shape[0], -1) for part in parts]
        if feature.normalise_parts:
            flat = [l2_normalise(part) for part in flat]
        return l2_normalise(jnp.concatenate(flat, axis=-1))

    def plain_view(self, batch: Mapping[str, Any]) -> jax.Array:
        """Makes the one view of each example that features are taken from; see `views.plain_view`."""
        return views.plain_view(batch, size=self.size, pen=self.config.pen)

    def random_view(
        self, keys: jax.Array, batch: Mapping[str, Any], hand: Hand = STEADY
    ) -> jax.Array:
        """Makes one of the 18 views of each example; see `views.random_view`."""
        return views.random_view(keys, batch, size=self.size, pen=self.config.pen, hand=hand)

    def all_views(self, batch: Mapping[str, Any]) -> jax.Array:
        """Makes the 18 views of each example; see `views.all_views`."""
        return views.all_views(batch, size=self.size, pen=self.config.pen)

    def query_views(self, batch: Mapping[str, Any], choice: QueryViews) -> jax.Array:
        """Makes the views of each example that a query is searched by; see `views.query_views`."""
        return views.query_views(batch, choice, size=self.size, pen=self.config.pen)

    def activation_shapes(self, size: int | None = None) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each activation of one picture, without computing anything.

        Args:
          size: h = w of the picture; None takes the model's own.
        """
        side = size or self.size
        picture = jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)
        _, activations = jax.eval_shape(type(self).__call__, self, picture)
        return {name: x.shape[1:] for name, x in activations.items()}

    def digest(self) -> str:
        """Digests the parameters: names, types, shapes and values; and the architecture, where the name
        of the backbone does not say it: equal parameters do not give equal features there.
        """
        own = digest_of_parameters(jax.device_get(self.params))
        if not self.config.architecture:
            return own
        architecture = json.dumps(dict(self.config.architecture), sort_keys=True)
        return hashlib.sha256(f"{own} {architecture}".encode()).hexdigest()

    def digest_matches(self, text: str) -> bool:
        """Returns whether a digest is that of the model, by this version or an earlier one."""
        return text == (self.digest() if len(text) == 64 else _values_digest(self.params))


def _values_digest(params: Params) -> str:
    """Digests values alone, as checkpoints and galleries of earlier versions did."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(params)):
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()[:16]


def _in_parts(
    run: Callable[[jax.Array], tuple[jax.Array, dict[str, jax.Array]]],
    parts: int,
    inputs: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Runs a network on equal parts of a batch, one after the other; the last one is filled up with zeros."""
    count = len(inputs)
    missing = -count % parts
    filled = jnp.pad(inputs, [(0, missing)] + [(0, 0)] * (inputs.ndim - 1))
    found = jax.lax.map(run, filled.reshape(parts, -1, *inputs.shape[1:]))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], found)


def init_model(config: ModelConfig, seed: int) -> Model:
    """Draws a model's parameters at random.

    Args:
      config: what the model is.
      seed: seed of the generator.

    Returns:
      The model.
    """
    return Model(jax.jit(_init_of(config))(jax.random.key(seed)), config)


def init_layer(config: ModelConfig, layer: str, seed: int) -> dict[str, jax.Array]:
    """Draws the parameters of one layer, as `init_model` does.

    Args:
      config: what the model is.
      layer: name of the layer.
      seed: seed of the generator.

    Returns:
      {name: array} of the layer.
    """
    init = _init_of(config)
    # Compiled for what is asked for, and no other layer is drawn.
    drawn: dict[str, jax.Array] = jax.jit(lambda key: init(key)[layer])(jax.random.key(seed))
    return drawn


def _init_of(config: ModelConfig) -> Callable[[jax.Array], Params]:
    """Returns the function that draws all parameters by a key."""
    module = config.described().build(len(config.class_names))
    pictures = jnp.zeros((1, config.size, config.size, 3), jnp.float32)
    return lambda key: module.init(key, pictures)["params"]


def with_classes(model: Model, class_names: tuple[str, ...], *, seed: int) -> Model:
    """Fits a model to a list of classes: where it is another than the model's, the classifier gets
    random values.

    Args:
      model: any model.
      class_names: [k] wanted, in label order.
      seed: seed of the random values.

    Returns:
      The model for `class_names`.
    """
    if class_names == model.class_names:
        return model
    last = model.backbone.classifier
    fresh = tuple(dict.fromkeys((*model.config.fresh_layers, last)))
    config = model.config._replace(class_names=class_names, fresh_layers=fresh)
    drawn = init_layer(config, last, seed)
    return model.replace(params=model.params | {last: drawn}, config=config)


def with_embedding(model: Model, dimension: int, *, seed: int) -> Model:
    """Gives a model an embedding layer, or takes it away: where its dimension is another than the
    model's, the layers that follow the backbone's last activation get random values.

    Args:
      model: any model.
      dimension: numbers d of the embedding; 0 for none.
      seed: seed of the random values.

    Returns:
      The model with this embedding.

    Raises:
      ValueError: for a negative dimension, or one of 1: all embeddings of length 1 would be 1 or -1.
    """
    if dimension < 0 or dimension == 1:
        raise ValueError(f"embedding={dimension} must be 0, for none, or at least 2; change it")
    if dimension == model.config.embedding:
        return model
    plain = model.config._replace(embedding=0).described()
    kept = {layer: model.params[layer] for layer in plain.layers[:-1]}
    config = model.config._replace(embedding=dimension)
    new = tuple(layer for layer in config.described().layers if layer not in kept)
    fresh = (*(layer for layer in model.config.fresh_layers if layer in kept), *new)
    config = config._replace(fresh_layers=fresh)
    drawn = {layer: init_layer(config, layer, seed) for layer in new}
    return model.replace(params=kept | drawn, config=config)
