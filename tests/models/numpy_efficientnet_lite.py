"""EfficientNet-Lite in NumPy, float64, written from the published definition and apart from the Flax one:
in PyTorch's names and layout, each convolution followed by its batch norm.
"""

import math

import numpy as np

EPSILON = 1e-3
# repeats, kernel, stride, expansion, inputs, outputs (the b0 table; -lite leaves squeeze-excite out)
TABLE = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
]
# name: factors of width and depth, size, published number of trainable parameters
NETWORKS = {
    "efficientnet-lite0": (1.0, 1.0, 224, 4_652_008),
    "efficientnet-lite1": (1.0, 1.1, 240, 5_416_680),
    "efficientnet-lite2": (1.1, 1.2, 260, 6_092_072),
}


def blocks(name):
    """(kernel, stride, expansion, inputs, outputs) of each block."""
    width, depth, *_ = NETWORKS[name]

    def channels(n):
        rounded = max(8, 8 * int((n * width + 4) / 8))
        return rounded + 8 if rounded < 0.9 * n * width else rounded

    out = []
    for i, (repeats, kernel, stride, expansion, inputs, outputs) in enumerate(TABLE):
        first, last = i == 0, i == len(TABLE) - 1
        n = repeats if first or last else math.ceil(repeats * depth)
        for j in range(n):
            own = channels(outputs) if j else 32 if first else channels(inputs)
            out.append((kernel, 1 if j else stride, expansion, own, channels(outputs)))
    return out


def random_state(name, classes, seed=0):
    """A state dict of random numbers that keep the size of what passes, statistics included."""
    rng = np.random.default_rng(seed)
    state = {}

    def layer(conv, norm, shape):
        deviation = math.sqrt(2 / math.prod(shape[1:]))
        state[f"{conv}.weight"] = deviation * rng.standard_normal(shape)
        state[f"{norm}.weight"] = rng.uniform(0.5, 1.5, shape[0])
        state[f"{norm}.bias"] = rng.standard_normal(shape[0])
        state[f"{norm}.running_mean"] = 0.5 * rng.standard_normal(shape[0])
        state[f"{norm}.running_var"] = rng.uniform(0.5, 1.5, shape[0])

    layer("_conv_stem", "_bn0", (32, 3, 3, 3))
    for i, (kernel, _, expansion, inputs, outputs) in enumerate(blocks(name)):
        at, wide = f"_blocks.{i}.", inputs * expansion
        if expansion > 1:
            layer(f"{at}_expand_conv", f"{at}_bn0", (wide, inputs, 1, 1))
        layer(f"{at}_depthwise_conv", f"{at}_bn1", (wide, 1, kernel, kernel))
        layer(f"{at}_project_conv", f"{at}_bn2", (outputs, wide, 1, 1))
    layer("_conv_head", "_bn1", (1280, blocks(name)[-1][-1], 1, 1))
    state["_fc.weight"] = rng.standard_normal((classes, 1280)) / math.sqrt(1280)
    state["_fc.bias"] = rng.standard_normal(classes)
    return {key: value.astype(np.float32) for key, value in state.items()}


def margins(missing):
    """Zeros before and after: TensorFlow puts the odd one last."""
    return missing // 2, missing - missing // 2


def convolve(x, weight, stride):
    """[b, c, h, w] with TensorFlow's SAME padding; [o, c, s, s], or [c, 1, s, s] channel by channel."""
    side = weight.shape[2]
    sizes = [-(-n // stride) for n in x.shape[2:]]
    missing = [max((m - 1) * stride + side - n, 0) for m, n in zip(sizes, x.shape[2:], strict=True)]
    x = np.pad(x, [(0, 0), (0, 0), *map(margins, missing)])
    out = np.zeros((x.shape[0], weight.shape[0], *sizes))
    own = weight.shape[1] == 1
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            window = x[:, :, i * stride : i * stride + side, j * stride : j * stride + side]
            out[:, :, i, j] = np.einsum(
                "bcst,cst->bc" if own else "bcst,ocst->bo", window, weight[:, 0] if own else weight
            )
    return out


def normalise(x, state, norm):
    scale, shift, mean, variance = (
        state[f"{norm}.{leaf}"].astype(np.float64).reshape(1, -1, 1, 1)
        for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + EPSILON) * scale + shift


def activations(name, state, pictures):
    """Every activation, maps as [b, h, w, c], of pictures [b, h, w, 3] uint8."""

    def layer(x, conv, norm, stride=1):
        weight = state[f"{conv}.weight"].astype(np.float64)
        return normalise(convolve(x, weight, stride), state, norm)

    def relu6(x):
        return np.minimum(np.maximum(x, 0.0), 6.0)

    x = (pictures.astype(np.float64).transpose(0, 3, 1, 2) - 127.0) / 128.0
    out = {"stem": (x := relu6(layer(x, "_conv_stem", "_bn0", 2)))}
    for i, (_, stride, expansion, inputs, outputs) in enumerate(blocks(name)):
        at, before = f"_blocks.{i}.", x
        if expansion > 1:
            x = relu6(layer(x, f"{at}_expand_conv", f"{at}_bn0"))
        x = relu6(layer(x, f"{at}_depthwise_conv", f"{at}_bn1", stride))
        x = layer(x, f"{at}_project_conv", f"{at}_bn2")
        if stride == 1 and inputs == outputs:
            x = x + before
        out[f"block{i + 1}"] = x
    out["conv_head"] = x = relu6(layer(x, "_conv_head", "_bn1"))
    out = {key: value.transpose(0, 2, 3, 1) for key, value in out.items()}
    out["pooled"] = x = x.mean(axis=(2, 3))
    out["logits"] = x @ state["_fc.weight"].T.astype(np.float64) + state["_fc.bias"]
    return out
