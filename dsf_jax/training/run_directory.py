"""What a run writes down of itself: its configuration, start and machine, enough to repeat it."""

import copy
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from dsf_jax.data.files import write_atomic
from dsf_jax.images.resize import BINARY_PEN
from dsf_jax.models.model import Model, ModelConfig
from dsf_jax.training import checkpoints
from dsf_jax.training.agreement import shortened
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.parallel import is_primary

CONFIG_FILE = "config.json"
_START = "digest of the start values"
_START_BEFORE = "fingerprint of the start values"  # as earlier versions called it
# Fields of TrainConfig that they did not have, and what they did.
_SINCE = {
    "optimiser": "sgd", "loss": "softmax", "examples_per_class": 0,
    "pen_spread": 0.0, "bend": 0.0, "pressure_spread": 0.0, "strokes_left_out": 0.0,
}  # fmt: skip
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain")


def claim(
    run_dir: pathlib.Path,
    config: TrainConfig,
    model: Model,
    data: Sequence[str],
    command: Mapping[str, Any],
    *,
    steps: int,
) -> None:
    """Writes config.json; where a run has got as far as a checkpoint, checks that it is this one.

    A run may go on with other values of `TrainConfig.may_change`; all else must be as it was.

    Args:
      run_dir: folder of the run.
      config: configuration wanted.
      model: network with its start values, whose digest is kept.
      data: descriptions of the data wanted.
      command: what to call again to repeat the run; kept, not compared.
      steps: number of steps after which the run is finished; kept, not compared.

    Raises:
      ValueError: naming what differs, with both values.
    """
    start = {"data": data, _START: model.digest()}
    parts = {"train": dataclasses.asdict(config), "model": model.config.to_json(), "start": start}
    wanted = json.loads(json.dumps(parts))
    path = run_dir / CONFIG_FILE
    begun = path.exists() and checkpoints.has_checkpoint(run_dir / checkpoints.FOLDER)
    there = _with_digest(as_written_now(read_config(run_dir)), model) if begun else wanted
    differing = [
        "{} is {} there and {} now".format(name, *shortened(there.get(part, {}).get(name), value))
        for part, values in wanted.items()
        for name, value in values.items()
        if name not in config.may_change() and there.get(part, {}).get(name) != value
    ]
    if differing:
        raise ValueError(
            f"{run_dir} holds a run with another configuration: {'; '.join(differing)}; "
            "choose another folder"
        )
    content = wanted | {
        "command": dict(command),
        "steps": steps,
        "sessions": [*there.get("sessions", ()), session()],
    }
    if is_primary():
        write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def as_written_now(content: Mapping[str, Any]) -> dict[str, Any]:
    """Brings a configuration of an earlier version to the present form: what it lacks is what that
    version did.

    Args:
      content: what `read_config` read.
    """
    there = copy.deepcopy(dict(content))
    there["train"] = _SINCE | there.get("train", {})
    if "model" in there:
        own = ModelConfig.from_json({"pen": BINARY_PEN} | there["model"]).to_json()
        there["model"] = json.loads(json.dumps(own))
    return there


def _with_digest(there: dict[str, Any], model: Model) -> dict[str, Any]:
    """Writes a digest of these start values as this version writes it."""
    start = there.get("start", {})
    written = start.pop(_START_BEFORE, None) or start.get(_START)
    if written is not None:
        start[_START] = model.digest() if model.digest_matches(written) else written
    return there


def session() -> dict[str, Any]:
    """Describes this process: versions, revision of the source, devices."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "revision": revision(),
        "devices": f"{jax.device_count()} {jax.devices()[0].device_kind} ({jax.default_backend()})",
        "processes": jax.process_count(),
    }


def revision() -> str | None:
    """Returns the git commit of the source that runs, with "+changes" where files differ from it;
    None for a copy outside git.
    """

    def git(*arguments: str) -> str:
        folder = pathlib.Path(__file__).parent
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        tracked = git("ls-files", "--error-unmatch", __file__)
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}{'+changes' if changed else ''}" if tracked else None


def read_config(run_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a run's config.json.

    Args:
      run_dir: folder of the run.

    Returns:
      "train", "model", "start", "command", "steps" and "sessions", as `claim` wrote them.

    Raises:
      FileNotFoundError: when the folder holds no run.
      ValueError: when the file is damaged.
    """
    path = pathlib.Path(run_dir) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there; name the folder of a run of launch.train, of one by folds RUN/fold0"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); choose another folder, or remove it"
        ) from error
