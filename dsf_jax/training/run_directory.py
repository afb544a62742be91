"""What a run writes down of itself: its configuration, start and machine, enough to repeat it."""

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

from dsf_jax.data.files import write_whole
from dsf_jax.models.alexnet import Params
from dsf_jax.training import checkpoints
from dsf_jax.training.checkpoints import ModelCard, fingerprint
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.parallel import is_primary

CONFIG_FILE = "config.json"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain")


def claim(
    run_dir: pathlib.Path,
    config: TrainConfig,
    card: ModelCard,
    params: Params,
    data: Sequence[str],
    command: Mapping[str, Any],
    *,
    steps: int,
) -> None:
    """Writes config.json; where a run has got as far as a checkpoint, checks that it is this one.

    A run may go on with other values of `TrainConfig.may_change`; all else must be as it was.

    Args:
      run_dir: of the run.
      config: wanted.
      card: wanted.
      params: the start values; their fingerprint is kept.
      data: wanted.
      command: kept, not compared: what to call again to repeat the run.
      steps: kept, not compared: after how many the run is finished.

    Raises:
      ValueError: naming what differs, with both values.
    """
    start = {"data": data, "fingerprint of the start values": fingerprint(params)}
    parts = {"train": dataclasses.asdict(config), "model": card._asdict(), "start": start}
    wanted = json.loads(json.dumps(parts))
    path = run_dir / CONFIG_FILE
    begun = path.exists() and checkpoints.has_checkpoint(run_dir / checkpoints.FOLDER)
    there = read_config(run_dir) if begun else wanted
    there["model"] = ModelCard._field_defaults | there.get("model", {})
    differing = [
        f"{name} is {_short(there.get(part, {}).get(name))} there and {_short(value)} now"
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
        write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


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
      run_dir: of the run.

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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
