r"""Takes a checkpoint out of this package: a folder for jax alone, one that travels, a Caffe, PyTorch or ONNX file.

python -m launch.export --checkpoint=runs/quickstart --out=exported
python -m launch.export --checkpoint=runs/quickstart --format=pytorch --out=alexnet.pth
python -m launch.export --checkpoint=runs/quickstart --format=onnx --out=alexnet.onnx
python -m launch.export --checkpoint=runs/quickstart --format=pretrained --licence=cc-by-sa-4.0 --out=my_model
"""

from absl import flags

from dsf_jax.export.onnx_file import write_onnx
from dsf_jax.export.write import write_caffemodel, write_export, write_state_dict
from dsf_jax.training.model_sources import open_model
from dsf_jax.training.pretrained import save_pretrained
from launch import common, shared_flags

# What is written, and the endings that its name may have.
_FORMATS = {
    "stablehlo": (write_export, ("",)),
    "caffemodel": (write_caffemodel, (".caffemodel",)),
    "pytorch": (write_state_dict, (".pth", ".pt")),
    "pretrained": (save_pretrained, ("",)),
    "onnx": (write_onnx, (".onnx",)),
}

_CHECKPOINT = shared_flags.define_checkpoint()
_OUT = flags.DEFINE_string("out", None, "New folder or file; never overwritten.", required=True)
_FORMAT = flags.DEFINE_enum(
    "format",
    "stablehlo",
    list(_FORMATS),
    "stablehlo: a folder with parameters, functions for cpu, cuda and tpu, and a README that shows "
    "how to run them without this package. caffemodel: weights for Caffe's bvlc_alexnet prototxt. "
    "pytorch: a state dict (.pth). pretrained: a folder that travels, with a card; every --checkpoint takes "
    "it. onnx: the image network, pictures to features and logits (extra `onnx`).",
)
_LICENCE = flags.DEFINE_string(
    "licence", None, "With --format=pretrained: licence of the weights, cc-by-4.0 or the like."
)


def main() -> None:
    """Writes what the flags ask for."""
    write, endings = _FORMATS[_FORMAT.value]
    if _LICENCE.value and _FORMAT.value != "pretrained":
        raise ValueError(f"--licence is for --format=pretrained, not {_FORMAT.value}; omit it")
    out = common.new_file(_OUT.value)
    assert out is not None  # the flag is required
    if not out.name.endswith(endings):
        raise ValueError(
            f"--out={out} must end in {' or '.join(endings)} for --format={_FORMAT.value}; rename it"
        )
    model = open_model(_CHECKPOINT.value)
    write(out, model, **({"licence": _LICENCE.value} if _LICENCE.value else {}))
    print(f"{model.backbone.name}, {len(model.class_names)} classes, written to {out}")
    if fresh := model.config.fresh_layers:
        print(f"random values still: {', '.join(fresh)}")


if __name__ == "__main__":
    common.run(main)
