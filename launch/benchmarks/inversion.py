"""Row of inversion: pictures sought from their conv3 activations, against a loop of PyTorch's autograd."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dsf_jax.insight.inversion import InversionConfig, first_noise, invert, sigma
from dsf_jax.models.alexnet import CAFFE
from launch.benchmarks.network import forward_flops, start_model
from launch.benchmarks.torch_network import TorchNetwork
from launch.benchmarks.work import Setting, Work, checked, relative_difference

LAYER, BLOCKS = "conv3", 3
IMAGES, STEPS = 16, 10


def inversion(setting: Setting) -> Iterator[Work]:
    """The steps of 16 pictures, their noise and target included, at the first learning rate."""
    images = 2 if setting.small else IMAGES
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (images, 8, 8, 3), np.uint8)
    pictures = coarse.repeat(29, axis=1).repeat(29, axis=2)[:, : CAFFE.size, : CAFFE.size]
    config = InversionConfig(phases=((1.0, STEPS),))
    model = start_model()

    def ours() -> np.ndarray:
        return invert(model, pictures, layer=LAYER, config=config).trajectories

    calls: dict[str, Callable[[], Any]] = {}
    differences = {}
    if torch := setting.peer("torch"):
        name = "PyTorch autograd"
        network = TorchNetwork(torch, model, layout="NCHW")
        # Both have to start from the same noise for their errors to be compared.
        noise = first_noise(pictures, config, np.full(images, sigma(CAFFE.size, CAFFE.size)))
        calls[name] = lambda: _loop(network, pictures, noise, config)
        # The last error of ours comes after the last step, which theirs does not look at.
        difference = relative_difference(ours()[:, :-1], calls[name]())
        differences[name] = checked(difference, "errors", name)
    layers = forward_flops(model, images)
    once = sum(layers[f"conv{i}"] for i in range(1, BLOCKS + 1))
    yield Work(
        f"inversion, batch {images}",
        ours,
        STEPS,
        "steps",
        calls,
        differences,
        flops=once * (2 * STEPS + 2),  # forward and the inputs' gradient; target and last error
    )


def _loop(
    network: TorchNetwork, pictures: np.ndarray, noise: np.ndarray, config: InversionConfig
) -> np.ndarray:
    """The same descent step by step; the errors before each step, [b, steps]."""
    torch, scale, weight = network.torch, sigma(CAFFE.size, CAFFE.size), CAFFE.tv_weight(LAYER)
    axes = (1, 2, 3)

    def features(x: Any) -> Any:
        return network.features(x, BLOCKS, pool_last=False)

    with torch.no_grad():
        target = features(
            network.inputs(pictures[..., ::-1].astype(np.float32) - CAFFE.pixels.mean_colour())
        )
        energy = (target**2).sum(axes)
    x = network.inputs(noise)
    velocity = torch.zeros_like(x)
    errors = []
    for _ in range(STEPS):
        x.requires_grad_(True)
        error = ((features(x) - target) ** 2).sum(axes) / energy
        variation = (x[:, :, 1:] - x[:, :, :-1]).square().sum(axes)
        variation = variation + (x[..., 1:] - x[..., :-1]).square().sum(axes)
        penalty = weight / 2 * variation + config.alpha_weight / 2 * (x**6).sum(axes)
        (gradient,) = torch.autograd.grad((error + penalty / scale**2).sum(), x)
        with torch.no_grad():
            velocity = config.momentum * velocity - config.learning_rate * scale**2 * gradient
            x = x.detach() + velocity
        errors.append(error.detach().cpu().numpy())
    return np.stack(errors, axis=1)
