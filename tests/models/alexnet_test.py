"""AlexNet against an independent float64 forward in NumPy, and against known mistakes in it."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from dsf_jax.models import alexnet
from dsf_jax.models.backbones import BACKBONES
from tests.models import numpy_alexnet as original
from tests.models.numpy_alexnet import Slips

pytestmark = pytest.mark.slow

Activations = dict[str, np.ndarray]
Params = dict[str, dict[str, np.ndarray]]

# Float32 sums of up to 9216 terms, layer on layer, stay an order of magnitude below this.
TOLERANCE = 1e-5
# A mistake must stand out by this factor, so that no slack in the tolerance could let it through.
CLEARLY = 100

CLASSES = 10
# Heights and widths. In Caffe's network the pools' rounding shows at 224 and 256 (not at 227), in
# torchvision's at 227 (not at 224); 111 x 147 tells rows from columns, and makes torchvision's
# average pool spread 2 x 3 cells over 6 x 6.
SIZES = [(227, 227), (224, 224), (256, 256), (111, 147)]
VARIANTS = ["caffe", "torchvision"]
DEEP = ["conv3", "relu3", "conv4", "relu4", "conv5", "relu5", "pool5"]
HEAD = ["fc6", "relu6", "fc7", "relu7", "fc8"]
NORMALISED = ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"]
LAYERS = {
    "caffe": [*NORMALISED, *DEEP, *HEAD],
    "torchvision": ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", *DEEP, "avgpool", *HEAD],
}


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest magnitude; infinite where the shapes differ."""
    if ours.shape != theirs.shape:
        return math.inf
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def random_layer(
    rng: np.random.Generator, shape: tuple[int, ...], bias: float
) -> dict[str, np.ndarray]:
    """A layer that keeps the size of its input: He's scale, and biases that a test would miss."""
    kernel = rng.standard_normal(shape, np.float32)
    kernel *= math.sqrt(2.0 / math.prod(shape[:-1]))
    return {"kernel": kernel, "bias": bias * rng.standard_normal(shape[-1], np.float32)}


@functools.cache
def head_params() -> Params:
    """fc6 to fc8, the same for both networks (150 MB: drawn once)."""
    rng = np.random.default_rng(6)
    shapes = {"fc6": (9216, 4096), "fc7": (4096, 4096), "fc8": (4096, CLASSES)}
    return {name: random_layer(rng, shape, bias=1.0) for name, shape in shapes.items()}


@functools.cache
def params(variant: str) -> Params:
    """Random parameters; the biases are of the size of the variant's inputs."""
    rng = np.random.default_rng(1)
    bias = 10.0 if variant == "caffe" else 0.1
    convolutions = {
        name: random_layer(
            rng, (spec.size, spec.size, spec.inputs // spec.groups, spec.outputs), bias
        )
        for name, spec in original.CONVOLUTIONS[variant].items()
    }
    return convolutions | head_params()


@functools.cache
def pictures(height: int, width: int) -> np.ndarray:
    """[b, h, w, 3] uint8 noise, each channel in a range of its own: none passes for another."""
    rng = np.random.default_rng(3)
    count = 2 if height == 227 else 1
    noise = rng.integers(0, 256, (count, height, width, 3))
    return (noise * [1.0, 0.8, 0.6]).astype(np.uint8)


def head_fits(variant: str, size: tuple[int, int]) -> bool:
    """Whether pool5 is 6 x 6, or pooled to it, so that fc6 of 9216 inputs can follow."""
    return variant == "torchvision" or size in [(227, 227), (224, 224)]


def model(variant: str, **options: Any) -> alexnet.AlexNet:
    """The network under test."""
    return alexnet.AlexNet(CLASSES, variant=variant, **options)


@functools.cache
def ours(variant: str, size: tuple[int, int]) -> Activations:
    """All layers of our network, from uint8 pictures; to pool5 only where fc6 would not fit."""
    weights = params(variant)
    if not head_fits(variant, size):
        pool5 = original_layers(variant, size)["pool5"]
        kernel = np.zeros((math.prod(pool5.shape[1:]), 4096), np.float32)
        weights = weights | {"fc6": weights["fc6"] | {"kernel": kernel}}

    @jax.jit
    def forward(weights: Params, images: jax.Array) -> dict[str, jax.Array]:
        inputs = BACKBONES[variant].preprocess(images)
        logits, activations = model(variant).apply({"params": weights}, inputs)
        return activations | {"logits": logits}

    out = {name: np.asarray(x) for name, x in forward(weights, pictures(*size)).items()}
    if not head_fits(variant, size):
        out = {name: x for name, x in out.items() if x.ndim == 4}
    return out


@functools.cache
def original_layers(
    variant: str, size: tuple[int, int], slips: Slips = original.NO_SLIP, head: bool = True
) -> Activations:
    """All layers of the NumPy network, or those before fc6."""
    inputs = original.preprocess(pictures(*size), variant=variant)
    out = original.trunk(inputs, params(variant), variant=variant, slips=slips)
    if head and head_fits(variant, size):
        below = out["avgpool" if variant == "torchvision" else "pool5"]
        out = out | original.head(below, params(variant), slips)
    return out


@pytest.fixture(scope="module", autouse=True)
def release_arrays() -> Iterator[None]:
    """Hands the gigabyte of cached parameters and activations back after the last test."""
    yield
    for cached in (head_params, params, pictures, ours, original_layers, identity_head):
        cached.cache_clear()


# --- The NumPy network itself, piece by piece against something plainer still ---


def test_original_correlation_is_scipys() -> None:
    """Every stride and every pair of channels of a small case."""
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, 9, 12, 3)), rng.standard_normal((4, 4, 3, 5))
    dense = np.stack(
        [
            sum(
                scipy.signal.correlate(x[b, ..., c], kernel[..., c, o], mode="valid")
                for c in range(3)
            )
            for b in range(2)
            for o in range(5)
        ]
    ).reshape(2, 5, 6, 9)
    for stride in (1, 2, 4):
        expected = dense.transpose(0, 2, 3, 1)[:, ::stride, ::stride]
        np.testing.assert_allclose(original.correlate(x, kernel, stride), expected, atol=1e-12)


def test_original_groups_see_their_own_channels_only() -> None:
    """Group 1 of 2 reads the second half of the channels; the padding is zeros."""
    rng = np.random.default_rng(0)
    spec = original.ConvSpec(3, 4, 6, pad=1, groups=2)
    x, kernel = rng.standard_normal((1, 5, 5, 4)), rng.standard_normal((3, 3, 2, 6))
    bias = rng.standard_normal(6)
    out = original.convolve(x, kernel, bias, spec)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for o in range(6):
        first = 0 if o < 3 else 2
        window = padded[0, 2:5, 1:4, first : first + 2]
        np.testing.assert_allclose(out[0, 2, 1, o], (window * kernel[..., o]).sum() + bias[o])


def test_original_lrn_is_the_formula() -> None:
    """Written out for single channels: inside, at the border, and the divisor 5 in both."""
    x = np.array([100.0, 200.0, 50.0, 400.0, 300.0, 10.0]).reshape(1, 1, 1, 6)
    out = original.lrn(x)[0, 0, 0]
    inside = 1 + 1e-4 / 5 * (100.0**2 + 200.0**2 + 50.0**2 + 400.0**2 + 300.0**2)
    border = 1 + 1e-4 / 5 * (100.0**2 + 200.0**2 + 50.0**2)
    np.testing.assert_allclose(out[[2, 0]], [50.0 / inside**0.75, 100.0 / border**0.75])


@pytest.mark.parametrize(("height", "width"), [(7, 8), (6, 5), (55, 54), (3, 4)])
@pytest.mark.parametrize("ceil", [True, False])
def test_original_pool_is_a_loop(height: int, width: int, ceil: bool) -> None:
    """Every window cut out of the plane by itself."""
    x = np.random.default_rng(0).standard_normal((1, height, width, 2))
    rounding = math.ceil if ceil else math.floor
    rows, columns = (rounding((n - 3) / 2) + 1 for n in (height, width))
    expected = [
        [x[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(0, 1)) for j in range(columns)]
        for i in range(rows)
    ]
    np.testing.assert_array_equal(original.max_pool(x, ceil=ceil)[0], expected)


def test_original_adaptive_pool_cells() -> None:
    """7 rows into 3 cells: rows 0-2, 2-4, 4-6; and one row into 3 is three copies."""
    x = np.arange(7.0).reshape(1, 7, 1, 1) * np.ones((1, 1, 6, 1))
    out = original.adaptive_average_pool(x, 3)
    np.testing.assert_allclose(out[0, :, 0, 0], [1.0, 3.0, 5.0])
    copies = original.adaptive_average_pool(np.full((1, 1, 1, 1), 8.0), 3)
    np.testing.assert_array_equal(copies, np.full((1, 3, 3, 1), 8.0))


def torch_layers(variant: str, size: tuple[int, int]) -> Activations:
    """The same network out of torch.nn.functional, float64, as NHWC."""
    torch = pytest.importorskip("torch", reason="torch is not installed: no cross-check with it")
    functional = torch.nn.functional
    caffe = variant == "caffe"

    def tensor(x: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(x)).double()

    out: dict[str, Any] = {}
    x = tensor(original.preprocess(pictures(*size), variant=variant).transpose(0, 3, 1, 2))
    for i, spec in enumerate(original.CONVOLUTIONS[variant].values(), start=1):
        layer = params(variant)[f"conv{i}"]
        kernel, bias = tensor(layer["kernel"].transpose(3, 2, 0, 1)), tensor(layer["bias"])
        x = functional.conv2d(x, kernel, bias, spec.stride, spec.pad, groups=spec.groups)
        out[f"conv{i}"] = x
        out[f"relu{i}"] = x = functional.relu(x)
        if caffe and i in (1, 2):
            x = functional.local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=1.0)
            out[f"norm{i}"] = x
        if i in (1, 2, 5):
            out[f"pool{i}"] = x = functional.max_pool2d(x, 3, 2, ceil_mode=caffe)
    if not caffe:
        out["avgpool"] = x = functional.adaptive_avg_pool2d(x, 6)
    out = {name: x.permute(0, 2, 3, 1) for name, x in out.items()}
    if head_fits(variant, size):
        x = torch.flatten(x, 1)
        for i in (6, 7, 8):
            layer = params(variant)[f"fc{i}"]
            x = functional.linear(x, tensor(layer["kernel"].T), tensor(layer["bias"]))
            out[f"fc{i}"] = x
            if i < 8:
                out[f"relu{i}"] = x = functional.relu(x)
    return {name: x.numpy() for name, x in out.items()}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_original_and_ours_are_torchs(variant: str, size: tuple[int, int]) -> None:
    """Where torch is at hand: its own layers agree with both, layer by layer."""
    theirs = torch_layers(variant, size)
    numpys, jaxs = original_layers(variant, size), ours(variant, size)
    assert list(theirs) == list(numpys)
    for name, x in theirs.items():
        assert relative_error(numpys[name], x) < 1e-12, name
        assert relative_error(jaxs[name], x) < TOLERANCE, name


# --- The network under test ---


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layer_is_the_originals(variant: str, size: tuple[int, int]) -> None:
    """From uint8 pictures to every activation."""
    theirs, own = original_layers(variant, size), ours(variant, size)
    assert set(own) - {"logits"} == set(theirs)
    errors = {name: relative_error(own[name], x) for name, x in theirs.items()}
    assert all(error < TOLERANCE for error in errors.values()), errors  # NaN is not less


def test_activations_are_in_a_range_where_mistakes_show() -> None:
    """Tens to hundreds before LRN, about half of every ReLU's inputs negative."""
    layers = original_layers("caffe", (227, 227))
    for name in ("relu1", "relu2"):
        assert 50 < layers[name].max() / 2 < 1000, name
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"):
        assert 0.2 < (layers[name] > 0).mean() < 0.8, name


@pytest.mark.parametrize(
    ("slip", "variant", "side", "first"),
    [
        ("same_padding", "caffe", 227, "conv1"),
        ("same_padding", "torchvision", 224, "conv1"),
        ("kernels_flipped", "caffe", 227, "conv1"),
        ("norm_before_relu", "caffe", 227, "norm1"),
        ("lrn_alpha_undivided", "caffe", 227, "norm1"),
        ("lrn_alpha_tenth", "caffe", 227, "norm1"),
        ("lrn_radius_five", "caffe", 227, "norm1"),
        ("pool_before_norm", "caffe", 227, "pool1"),
        ("floor_pools", "caffe", 224, "pool1"),
        ("floor_pools", "caffe", 256, "pool1"),
        ("ceil_pools", "torchvision", 227, "pool1"),
        ("groups_ignored", "caffe", 227, "conv2"),
        ("groups_swapped", "caffe", 227, "conv2"),
    ],
)
def test_slip_in_the_convolutions_is_seen(slip: str, variant: str, side: int, first: str) -> None:
    """Equal before the layer with the mistake, clearly unlike there and at pool5."""
    size = (side, side)
    wrong = original_layers(variant, size, Slips(**{slip: True}), head=False)
    own = ours(variant, size)
    for name in wrong:  # in the order computed
        if name == first:
            break
        assert relative_error(own[name], wrong[name]) < TOLERANCE, name
    assert relative_error(own[first], wrong[first]) > CLEARLY * TOLERANCE
    assert relative_error(own["pool5"], wrong["pool5"]) > CLEARLY * TOLERANCE


@pytest.mark.parametrize(
    ("slip", "first"), [("fc6_height_width_channels", "fc6"), ("no_relu_fc", "relu6")]
)
def test_slip_in_the_head_is_seen(slip: str, first: str) -> None:
    """The head alone, from the right pool5."""
    size = (227, 227)
    pool5 = original_layers("caffe", size)["pool5"]
    wrong = original.head(pool5, params("caffe"), Slips(**{slip: True}))
    own = ours("caffe", size)
    assert relative_error(own[first], wrong[first]) > CLEARLY * TOLERANCE
    assert relative_error(own["logits"], wrong["fc8"]) > CLEARLY * TOLERANCE


def test_every_slip_is_tried() -> None:
    """No mistake that the NumPy network can make is left out above."""
    tried = {
        case[0]
        for test in (test_slip_in_the_convolutions_is_seen, test_slip_in_the_head_is_seen)
        for mark in test.pytestmark
        for case in mark.args[1]
    }
    assert tried == {field.name for field in dataclasses.fields(Slips)}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("slip", ["channels_swapped", "mean_swapped"])
def test_slip_in_the_channel_order_is_seen(variant: str, slip: str) -> None:
    """RGB for BGR, or the mean in the other order, changes conv1 clearly."""
    size = (227, 227)
    inputs = original.preprocess(pictures(*size), variant=variant, **{slip: True})
    layer, spec = params(variant)["conv1"], original.CONVOLUTIONS[variant]["conv1"]
    wrong = original.convolve(inputs, layer["kernel"], layer["bias"], spec)
    assert relative_error(ours(variant, size)["conv1"], wrong) > CLEARLY * TOLERANCE


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_preprocess(variant: str, wrap: Callable[..., Any]) -> None:
    """Colour and grey; one orange pixel by hand."""
    apply = wrap(BACKBONES[variant].preprocess)
    colour = pictures(5, 4)
    for images in (colour, colour[..., 0]):
        out = apply(jnp.asarray(images))
        assert out.dtype == jnp.float32
        assert relative_error(np.asarray(out), original.preprocess(images, variant=variant)) < 1e-6
    orange = np.asarray(apply(jnp.array([[[[255, 128, 0]]]], jnp.uint8)))[0, 0, 0]
    expected = {
        "caffe": [-104.00699, 128 - 116.66877, 255 - 122.67891],
        "torchvision": [0.515 / 0.229, (128 / 255 - 0.456) / 0.224, -0.406 / 0.225],
    }
    np.testing.assert_allclose(orange, expected[variant], rtol=1e-5)


def test_preprocess_refuses_fractions() -> None:
    """Pixels in 0..1 would be black to the network."""
    with pytest.raises(ValueError, match=r"uint8 in 0\.\.255, got float32"):
        BACKBONES["caffe"].preprocess(jnp.zeros((1, 4, 4, 3)))


def test_unknown_variant_lists_the_known() -> None:
    """One line, with what was given and what may be."""
    with pytest.raises(ValueError, match=r"variant='caffenet'.*caffe, torchvision"):
        abstract_forward(alexnet.AlexNet(2, variant="caffenet"))


def test_unknown_start_lists_the_known() -> None:
    """A layer that cannot be started from must not pass for pool5."""
    features = jnp.zeros((1, 6, 6, 256))
    with pytest.raises(ValueError, match=r"start='pool4'.*input, pool5"):
        model("caffe").apply({"params": params("caffe")}, features, start="pool4")


def abstract_forward(network: alexnet.AlexNet, **options: Any) -> tuple[Any, list[str], Any]:
    """Shapes of the parameters, layer names in the order computed, shapes of the outputs."""
    names: list[str] = []

    def run(images: jax.Array) -> tuple[Any, Any]:
        outputs, variables = network.init_with_output(jax.random.key(0), images, **options)
        names.extend(outputs[1])
        return variables["params"], outputs

    shapes, outputs = jax.eval_shape(run, jax.ShapeDtypeStruct((2, 227, 227, 3), jnp.float32))
    return shapes, names, outputs


@pytest.mark.parametrize(
    ("variant", "count"),
    # Parameters of bvlc_alexnet.caffemodel and torchvision.models.alexnet, with 1000 classes both.
    [("caffe", 60_965_224), ("torchvision", 61_100_840)],
)
def test_parameters_are_the_published_networks(variant: str, count: int) -> None:
    """The count is public; every shape is the NumPy network's; all are float32."""
    shapes, names, _ = abstract_forward(alexnet.AlexNet(1000, variant=variant))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count
    assert names == LAYERS[variant]
    expected = jax.tree.map(np.shape, params(variant), is_leaf=lambda x: isinstance(x, np.ndarray))
    expected["fc8"] = {"kernel": (4096, 1000), "bias": (1000,)}
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == expected
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("classes", [1, 2, 250])
def test_any_number_of_classes(classes: int) -> None:
    """Only fc8 and the logits follow."""
    shapes, _, (logits, activations) = abstract_forward(alexnet.AlexNet(classes))
    assert shapes["fc8"]["kernel"].shape == (4096, classes)
    assert logits.shape == activations["fc8"].shape == (2, classes)


@pytest.mark.parametrize("variant", VARIANTS)
def test_starting_from_pool5_is_the_rest_of_the_forward(variant: str) -> None:
    """Cached pool5 gives the logits of the whole network, for any dtype of the cache."""
    own = ours(variant, (224, 224))
    logits, activations = model(variant).apply(
        {"params": params(variant)}, own["pool5"], start="pool5"
    )
    assert relative_error(np.asarray(logits), own["logits"]) < TOLERANCE
    for name in HEAD:
        assert relative_error(np.asarray(activations[name]), own[name]) < TOLERANCE, name


def test_logits_are_fc8() -> None:
    """The logits are the last activation."""
    own = ours("caffe", (227, 227))
    np.testing.assert_array_equal(own["logits"], own["fc8"])
    assert own["logits"].dtype == np.float32


@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_is_close(variant: str) -> None:
    """Coarser, yet the same network; the logits stay float32."""
    inputs = BACKBONES[variant].preprocess(pictures(227, 227))
    forward = jax.jit(model(variant, dtype=jnp.bfloat16).apply)
    logits, activations = forward({"params": params(variant)}, inputs)
    assert logits.dtype == jnp.float32
    assert {x.dtype for x in activations.values()} == {jnp.dtype(jnp.bfloat16)}
    for name, bound in {"conv1": 0.01, "pool5": 0.05, "fc8": 0.05}.items():
        error = relative_error(np.asarray(activations[name]), ours(variant, (227, 227))[name])
        assert TOLERANCE < error < bound, (name, error)


# --- Gradients ---


def weighted_sum(x: jax.Array, weights: np.ndarray) -> jax.Array:
    """A scalar whose gradient with respect to x is `weights`."""
    return jnp.sum(x * weights)


def convolution_params(variant: str) -> Params:
    """conv1 to conv5 alone."""
    return {name: layer for name, layer in params(variant).items() if name.startswith("conv")}


@functools.partial(jax.jit, static_argnums=0)
def pool5_gradients(
    variant: str, convolutions: Params, head: Params, inputs: jax.Array, weights: jax.Array
) -> tuple[Any, Any]:
    """Gradients of a weighted sum of pool5, in the convolutions' parameters and in the inputs."""

    def loss(convolutions: Params, inputs: jax.Array) -> jax.Array:
        _, activations = model(variant).apply({"params": convolutions | head}, inputs)
        return weighted_sum(activations["pool5"], weights)

    return jax.grad(loss, argnums=(0, 1))(convolutions, inputs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_is_the_originals_slope(variant: str) -> None:
    """Our gradient along random directions is the NumPy network's central difference.

    Once along the image, and once along each convolution's parameters, through every kind of layer;
    the float64 step is so small that next to no ReLU or maximum changes sides within it. The bound
    leaves room for one unit that float32 puts on the other side of zero, 1e-2 of the whole; a wrong
    layer would be off by as much as the whole.
    """
    rng = np.random.default_rng(8)
    inputs = original.preprocess(pictures(227, 227)[:1], variant=variant)
    weights = rng.standard_normal((1, 6, 6, 256)).astype(np.float32)
    convolutions = convolution_params(variant)
    slope_params, slope_inputs = jax.tree.map(
        np.asarray,
        pool5_gradients(variant, convolutions, head_params(), inputs.astype(np.float32), weights),
    )

    def central_difference(name: str, move: Any, step: float = 1e-8) -> float:
        rise = 0.0
        for sign in (1, -1):
            moved_inputs, moved = inputs, dict(convolutions)
            if name == "image":
                moved_inputs = inputs + sign * step * move
            else:
                moved[name] = {
                    kind: x + sign * step * move[kind] for kind, x in convolutions[name].items()
                }
            pool5 = original.trunk(moved_inputs, moved, variant=variant)["pool5"]
            rise += sign * float((pool5 * weights).sum())
        return rise / (2 * step)

    def random_like(x: np.ndarray) -> np.ndarray:
        return rng.standard_normal(x.shape) * np.abs(x).max()

    shift = random_like(inputs)
    whole = float(np.linalg.norm(slope_inputs)) * np.abs(inputs).max()
    expected = central_difference("image", shift)
    assert float((slope_inputs * shift).sum()) == pytest.approx(expected, abs=0.02 * whole)
    for name, layer in convolutions.items():
        move = {kind: random_like(x) for kind, x in layer.items()}
        slope = sum(float((slope_params[name][kind] * move[kind]).sum()) for kind in move)
        whole = math.hypot(
            *(float(np.linalg.norm(slope_params[name][k])) * np.abs(layer[k]).max() for k in move)
        )
        assert slope == pytest.approx(central_difference(name, move), abs=0.02 * whole), name


@pytest.mark.parametrize("case", ["nothing", "silent conv1"])
def test_gradient_is_finite_where_activations_are_zero(case: str) -> None:
    """LRN and pools over nothing but zeros: no 0 / 0, and no gradient beyond a silent layer."""
    convolutions = convolution_params("caffe")
    if case == "nothing":
        convolutions = jax.tree.map(np.zeros_like, convolutions)
    else:
        silent = np.full(96, -1e6, np.float32)
        convolutions["conv1"] = convolutions["conv1"] | {"bias": silent}
    inputs = original.preprocess(pictures(227, 227)[:1], variant="caffe").astype(np.float32)
    weights = np.ones((1, 6, 6, 256), np.float32)
    slopes, _ = pool5_gradients("caffe", convolutions, head_params(), inputs, weights)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    assert not np.any(slopes["conv1"]["kernel"])
    assert np.any(slopes["conv5"]["bias"]) == (case == "silent conv1")


def test_gradient_reaches_every_parameter_of_the_head() -> None:
    """Through dropout too, and finite."""
    pool5 = ours("caffe", (227, 227))["pool5"]
    keys = jax.random.split(jax.random.key(4), 2)

    @jax.jit
    def reached(head: Params) -> Any:
        def loss(head: Params) -> jax.Array:
            network = model("caffe")
            logits, _ = network.apply({"params": head}, pool5, dropout_keys=keys, start="pool5")
            return -jax.nn.log_softmax(logits / 100.0)[:, 1].mean()

        slopes = jax.grad(loss)(head)
        return jax.tree.map(lambda g: jnp.isfinite(g).all() & jnp.any(g != 0), slopes)

    assert all(jax.tree.leaves(reached(head_params())))


# --- Dropout ---


@functools.cache
def identity_head() -> Any:
    """fc6 to fc8 that hand their inputs on: the logits of ones are the product of all masks."""
    shapes = {"fc6": (9216, 4096), "fc7": (4096, 4096), "fc8": (4096, MASKED)}
    return {
        name: {"kernel": jnp.eye(*shape), "bias": jnp.zeros(shape[1])}
        for name, shape in shapes.items()
    }


@functools.partial(jax.jit, static_argnums=(2, 3))
def masked_ones(head: Any, keys: jax.Array | None, variant: str, rate: float) -> Any:
    """Logits and activations of ones through the identity head, one row a key (8 without)."""
    network = alexnet.AlexNet(MASKED, variant=variant, dropout_rate=rate)
    ones = jnp.ones((8 if keys is None else len(keys), 6, 6, 256))
    return network.apply({"params": head}, ones, dropout_keys=keys, start="pool5")


def drop(
    keys: jax.Array | None, *, variant: str = "caffe", rate: float = 0.5
) -> tuple[np.ndarray, Activations]:
    """What `masked_ones` gives, as NumPy arrays."""
    return jax.tree.map(np.asarray, masked_ones(identity_head(), keys, variant, rate))


MASKED = 2048
KEYS = jax.random.split(jax.random.key(11), 8)


@pytest.mark.parametrize(
    ("variant", "rate"), [("caffe", 0.5), ("caffe", 0.2), ("torchvision", 0.5)]
)
def test_dropout_drops_twice_and_keeps_the_mean(variant: str, rate: float) -> None:
    """Two masks, drawn apart (one mask twice would keep 1 - rate, not its square)."""
    logits, activations = drop(KEYS, variant=variant, rate=rate)
    keep = 1.0 - rate
    once, twice = np.float32(1 / keep), np.float32(1 / keep**2)

    def values(x: np.ndarray) -> list[float]:
        return sorted({round(float(v), 4) for v in np.unique(x)})

    # Caffe drops after relu6 and relu7, torchvision before fc6 and fc7.
    expected = {
        "caffe": {"relu6": [1.0], "relu7": [0.0, once], "fc8": [0.0, twice]},
        "torchvision": {"relu6": [0.0, once], "relu7": [0.0, twice], "fc8": [0.0, twice]},
    }[variant]
    for name, levels in expected.items():  # type: ignore[attr-defined]
        assert values(activations[name]) == pytest.approx(levels, abs=1e-4), name
    # 8 x 2048 draws: five standard deviations of the share kept are below 0.02.
    assert (logits > 0).mean() == pytest.approx(keep**2, abs=0.02)
    assert logits.mean() == pytest.approx(1.0, abs=0.02 / keep**2)


def test_dropout_mask_follows_the_key_not_the_place() -> None:
    """Reordered, split or alone: an example keeps its masks; other keys, other masks."""
    logits, _ = drop(KEYS)
    order = np.array([3, 0, 7, 1, 5, 2, 6, 4])
    np.testing.assert_array_equal(drop(KEYS[order])[0], logits[order])
    np.testing.assert_array_equal(drop(KEYS[5:6])[0], logits[5:6])
    assert len({row.tobytes() for row in logits}) == 8


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_keys_or_no_rate_is_evaluation(variant: str) -> None:
    """Neither drops nor scales."""
    for keys, rate in ((None, 0.5), (KEYS, 0.0)):
        logits, _ = drop(keys, variant=variant, rate=rate)
        np.testing.assert_array_equal(logits, np.ones((8, MASKED)))
