"""The peers of the networks in PyTorch, with the same parameters."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dsf_jax.models.alexnet import ARCHITECTURES, POOLED_BLOCKS
from dsf_jax.models.efficientnet_lite import blocks_of
from dsf_jax.models.model import Model
from dsf_jax.models.vit import ImageTower
from dsf_jax.models.windows import same_padding
from dsf_jax.training.optimiser import OptimiserConfig
from launch.benchmarks.work import Setting

SGD = OptimiserConfig(
    optimiser="sgd",
    learning_rate=0.001,
    momentum=0.9,
    weight_decay=5e-4,
    fresh_multiplier=10.0,
    bias_multiplier=2.0,
    fresh_layers=("fc8",),
    schedule="constant",
    decay_every=1,
    decay_factor=1.0,
    warmup=0,
    steps=1,
)


class TorchNetwork:
    """Caffe's AlexNet in PyTorch, with given parameters, in one memory layout, on our device."""

    layouts: tuple[str, ...] = ("NCHW", "NHWC")  # that are worth timing

    def __init__(
        self,
        torch: Any,
        model: Model,
        *,
        layout: str,
        dropout_rate: float = 0.0,
        dtype: str = "float32",
        compiled: bool = False,
    ) -> None:
        """Takes a model's parameters over; `layout` is "NCHW" or "NHWC", `dtype` that of the computation."""
        self.torch = torch
        self.device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        if self.device == "cpu":
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        elif not torch.cuda.is_available():
            raise RuntimeError(
                "the peer torch finds no GPU and we have one; install torch for it, or omit it from --peers"
            )
        self.channels_last, self.dropout_rate = layout == "NHWC", dropout_rate
        self.dtype, self.compiled = dtype, compiled
        self.fresh_layers = model.config.fresh_layers
        self.architecture = model.config.architecture
        self.params = {
            (layer, name): self.tensor(_theirs(np.array(value))).requires_grad_()
            for layer, values in model.params.items()
            for name, value in values.items()
        }
        self._forward = torch.compile(self._plain_forward) if compiled else self._plain_forward

    def tensor(self, x: np.ndarray) -> Any:
        """A tensor of NCHW order, in the layout, on the device."""
        tensor = self.torch.from_numpy(np.ascontiguousarray(x)).to(self.device)
        last = self.channels_last and tensor.ndim == 4
        return tensor.contiguous(memory_format=self.torch.channels_last) if last else tensor

    def inputs(self, images: np.ndarray) -> Any:
        """[b, h, w, 3] as the network takes it."""
        return self.tensor(images.transpose(0, 3, 1, 2))

    def wait(self) -> None:
        """Waits for what the device was given to do."""
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def forward(self, x: Any, *, train: bool) -> Any:
        """Logits [b, k]; parameters stay float32 whatever the computation is in."""
        low = self.dtype != "float32"
        with self.torch.autocast(self.device, getattr(self.torch, self.dtype), enabled=low):
            return self._forward(x, train)

    def logits(self, x: Any) -> np.ndarray:
        """The same without gradients, as a host array."""
        with self.torch.no_grad():
            return self.forward(x, train=False).float().cpu().numpy()

    def _plain_forward(self, x: Any, train: bool) -> Any:
        functional = self.torch.nn.functional
        x = self.features(x, len(ARCHITECTURES["caffe"].convs), pool_last=True)
        x = x.flatten(1)  # in the order of channels, rows, columns, whatever the layout
        for layer in ("fc6", "fc7", "fc8"):
            x = functional.linear(x, self.params[layer, "kernel"], self.params[layer, "bias"])
            if layer != "fc8":
                x = functional.dropout(functional.relu_(x), self.dropout_rate, train)
        return x

    def features(self, x: Any, blocks: int, *, pool_last: bool) -> Any:
        """The first blocks of convolutions; the last, if not pooled, ends before its ReLU."""
        functional, architecture = self.torch.nn.functional, ARCHITECTURES["caffe"]
        for block, conv in enumerate(architecture.convs[:blocks], start=1):
            x = functional.conv2d(
                x,
                self.params[f"conv{block}", "kernel"],
                self.params[f"conv{block}", "bias"],
                conv.stride,
                conv.padding,
                groups=conv.groups,
            )
            if block == blocks and not pool_last:
                return x
            x = functional.relu_(x)
            if block in architecture.normalised:
                x = functional.local_response_norm(x, 5, 1e-4, 0.75, 1.0)
            if block in POOLED_BLOCKS:
                x = functional.max_pool2d(x, 3, 2, ceil_mode=architecture.ceil_pools)
        return x

    def step_on(self, images: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
        """Makes a step of training on images [b, h, w, 3] and labels [b]."""
        optimiser, x = self._optimiser(), self.inputs(images)
        classes = self.torch.from_numpy(labels).long().to(self.device)

        def step() -> None:
            optimiser.zero_grad()
            logits = self.forward(x, train=True).float()
            self.torch.nn.functional.cross_entropy(logits, classes).backward()
            optimiser.step()
            self.wait()

        return step

    def _optimiser(self) -> Any:
        """SGD with SGD: at a constant rate it is Caffe's."""
        groups = [
            {
                "params": [tensor],
                "lr": SGD.learning_rate
                * (SGD.fresh_multiplier if layer in self.fresh_layers else 1.0)
                * (SGD.bias_multiplier if name == "bias" else 1.0),
                "weight_decay": SGD.weight_decay if name == "kernel" else 0.0,
            }
            for (layer, name), tensor in self.params.items()
        ]
        return self.torch.optim.SGD(groups, momentum=SGD.momentum)

    def exported(self) -> dict[str, dict[str, np.ndarray]]:
        """The parameters as ours are laid out."""
        out: dict[str, dict[str, np.ndarray]] = {}
        for (layer, name), tensor in self.params.items():
            value = tensor.detach().cpu().numpy()
            theirs = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
            out.setdefault(layer, {})[name] = theirs
        return out


def _theirs(x: np.ndarray) -> np.ndarray:
    """Kernels HWIO -> OIHW, or [inputs, outputs] -> [outputs, inputs]."""
    return x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T


class TorchLite(TorchNetwork):
    """EfficientNet-Lite0 in PyTorch, its batch norms folded as ours are."""

    def _plain_forward(self, x: Any, train: bool) -> Any:
        functional = self.torch.nn.functional
        x = functional.relu6(self._same(x, "stem", 2))
        for i, block in enumerate(blocks_of("efficientnet-lite0"), start=1):
            before = x
            if block.expansion > 1:
                x = functional.relu6(self._same(x, f"block{i}_expand", 1))
            x = functional.relu6(self._same(x, f"block{i}_depthwise", block.stride))
            x = self._same(x, f"block{i}_project", 1)
            if block.stride == 1 and block.inputs == block.outputs:
                x = x + before
        x = functional.relu6(self._same(x, "conv_head", 1)).mean((2, 3))
        x = functional.dropout(x, self.dropout_rate, train)
        return functional.linear(
            x, self.params["classifier", "kernel"], self.params["classifier", "bias"]
        )

    def _same(self, x: Any, layer: str, stride: int) -> Any:
        """A convolution with TensorFlow's SAME padding, channel by channel where it is depthwise."""
        kernel, bias = self.params[layer, "kernel"], self.params[layer, "bias"]
        groups = x.shape[1] // kernel.shape[1]
        margins = [same_padding(n, kernel.shape[2], stride) for n in x.shape[2:]]
        if all(before == after for before, after in margins):
            padding = [before for before, _ in margins]  # without a copy
        else:
            x, padding = self.torch.nn.functional.pad(x, (*margins[1], *margins[0])), [0, 0]
        return self.torch.nn.functional.conv2d(x, kernel, bias, stride, padding, groups=groups)


class TorchVit(TorchNetwork):
    """A vision transformer in PyTorch without class token, pooled by attention, as SigLIP's."""

    layouts = ("NHWC",)  # tokens know no other

    def _plain_forward(self, x: Any, train: bool) -> Any:
        kernel, bias = self.params["patches", "kernel"], self.params["patches", "bias"]
        x = self.torch.nn.functional.conv2d(x, kernel, bias, self.tower.patch)
        x = x.flatten(2).transpose(1, 2) + self.params["positions", "embedding"].T
        for number in range(1, self.tower.depth + 1):
            prefix = f"block{number}_"
            normed = self._norm(x, f"{prefix}norm1")
            x = x + self._attention(normed, normed, prefix)
            x = x + self._perceptron(self._norm(x, f"{prefix}norm2"), prefix)
        x = self._norm(x, "final_norm")
        probe = self.params["pool_probe", "embedding"].T.expand(len(x), 1, -1)
        x = self._attention(probe, x, "pool_")
        x = x + self._perceptron(self._norm(x, "pool_norm"), "pool_")
        return self._linear(x[:, 0], "head")

    @functools.cached_property
    def tower(self) -> ImageTower:
        """The configuration of the network."""
        return ImageTower(**dict(self.architecture))

    def _linear(self, x: Any, layer: str) -> Any:
        kernel, bias = self.params[layer, "kernel"], self.params[layer, "bias"]
        return self.torch.nn.functional.linear(x, kernel, bias)

    def _norm(self, x: Any, layer: str) -> Any:
        scale, bias = self.params[layer, "scale"], self.params[layer, "bias"]
        norm = self.torch.nn.functional.layer_norm
        return norm(x, scale.shape, scale, bias, self.tower.epsilon)

    def _attention(self, queries: Any, tokens: Any, prefix: str) -> Any:
        def heads(x: Any, layer: str) -> Any:
            product = self._linear(x, prefix + layer)
            return product.unflatten(2, (self.tower.heads, -1)).transpose(1, 2)

        mixed = self.torch.nn.functional.scaled_dot_product_attention(
            heads(queries, "query"), heads(tokens, "key"), heads(tokens, "value")
        )
        return self._linear(mixed.transpose(1, 2).flatten(2), f"{prefix}output")

    def _perceptron(self, x: Any, prefix: str) -> Any:
        hidden = self.torch.nn.functional.gelu(self._linear(x, f"{prefix}up"), approximate="tanh")
        return self._linear(hidden, f"{prefix}down")


def torch_networks(
    setting: Setting, model: Model, *, dropout_rate: float, peer: type[TorchNetwork] = TorchNetwork
) -> dict[str, TorchNetwork]:
    """Makes the peers of a network by name, none without torch: run as they are, in all its layouts;
    where PyTorch compiles, only channels last, as it is and compiled.
    """
    if (torch := setting.peer("torch")) is None:
        return {}
    forms = {
        "PyTorch NHWC, compiled": ("NHWC", True),
        "PyTorch NHWC": ("NHWC", False),
        "PyTorch NCHW": ("NCHW", False),
    }
    chosen = list(forms)[:2] if setting.compiled else list(forms)[:0:-1]
    return {
        name: peer(
            torch,
            model,
            layout=forms[name][0],
            dropout_rate=dropout_rate,
            dtype=setting.dtype,
            compiled=forms[name][1],
        )
        for name in chosen
        if forms[name][0] in peer.layouts
    }
