r"""Takes a checkpoint out of this package: a folder that runs with jax alone, or a Caffe or PyTorch file.

python -m launch.export --checkpoint=runs/quickstart --out=exported
python -m launch.export --checkpoint=runs/quickstart --format=pytorch --out=alexnet.pth
"""

from absl import flags

from dsf_jax.export.write import write_caffemodel, write_export, write_state_dict
from dsf_jax.training.model_sources import open_model
from launch import common, shared_flags

# What is written, and the endings that its name may have.
_FORMATS = {
    "stablehlo": (write_export, ("",)),
    "caffemodel": (write_caffemodel, (".caffemodel",)),
    "pytorch": (write_state_dict, (".pth", ".pt")),
}

_CHECKPOINT = shared_flags.define_checkpoint()
_OUT = flags.DEFINE_string("out", None, "New folder or file; never overwritten.", required=True)
_FORMAT = flags.DEFINE_enum(
    "format",
    "stablehlo",
    list(_FORMATS),
    "stablehlo: a folder with parameters, functions for cpu, cuda and tpu, and a README that shows "
    "how to run them without this package. caffemodel: weights for Caffe's bvlc_alexnet prototxt. "
    "pytorch: a state dict (.pth).",
)


def main() -> None:
    """Writes what the flags ask for."""
    write, endings = _FORMATS[_FORMAT.value]
    out = common.new_file(_OUT.value)
    assert out is not None  # the flag is required
    if not out.name.endswith(endings):
        raise ValueError(
            f"--out={out} must end in {' or '.join(endings)} for --format={_FORMAT.value}; rename it"
        )
    model = open_model(_CHECKPOINT.value)
    write(out, model)
    print(f"{model.backbone.name}, {len(model.class_names)} classes, written to {out}")
    if fresh := model.config.fresh_layers:
        print(f"random values still: {', '.join(fresh)}")


if __name__ == "__main__":
    common.run(main)
