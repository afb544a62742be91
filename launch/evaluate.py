r"""Scores a checkpoint on prepared data sets: recognition, or retrieval of photos by sketches.

python -m launch.evaluate --what=retrieval --checkpoint=runs/quickstart --data_dir=runs/quickstart/data \
    --sketches=openmoji/sketch --photos=openmoji/photo --split=test
"""

import dataclasses
import json

from absl import flags

from dsf_jax.data.files import write_whole
from dsf_jax.data.mixtures import DRAWN, training_fields
from dsf_jax.data.records import Records, open_records
from dsf_jax.evaluation.protocols.category_retrieval import RetrievalResult
from dsf_jax.evaluation.protocols.recognition import RecognitionResult
from dsf_jax.training.checkpoints import load_model
from launch import command, stages

_WHAT = flags.DEFINE_enum(
    "what",
    "retrieval",
    ["recognition", "retrieval"],
    "recognition: accuracy on sketches of the checkpoint's classes, single angle and voted. "
    "retrieval: sketches as queries against photos of the same classes.",
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run or checkpoint folder.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of prepared records.")
_SKETCHES = flags.DEFINE_string("sketches", "openmoji/sketch", "Prepared data set of sketches.")
_PHOTOS = flags.DEFINE_string("photos", "openmoji/photo", "Prepared data set of photos.")
_SPLIT = flags.DEFINE_string("split", "test", "Split of the data sets.")
_JSON = flags.DEFINE_string("json", None, "File that the results go to as well; never overwritten.")


def main() -> None:
    """Evaluates as the flags say."""
    out = command.new_file(_JSON.value)
    sketches = _open(_SKETCHES, DRAWN)
    results: list[RetrievalResult] | list[RecognitionResult]
    if _WHAT.value == "retrieval":
        photos = _open(_PHOTOS, ("photo",))
        results = stages.retrieval(*load_model(_CHECKPOINT.value), sketches, photos)
    else:
        results = [stages.recognise(*load_model(_CHECKPOINT.value), sketches)]
    text = json.dumps([dataclasses.asdict(result) for result in results], indent=1)
    print(text)
    if out:
        write_whole(out, text + "\n")


def _open(flag: flags.FlagHolder[str], domains: tuple[str, ...]) -> Records:
    """Opens the data set that a flag names, if it holds what the flag is for."""
    domain = open_records(_DATA_DIR.value, flag.value, _SPLIT.value, fields=("domain",)).domain
    if domain not in domains:
        raise ValueError(
            f"--{flag.name}={flag.value} is of the domain {domain}, not {' or '.join(domains)}; "
            "name another data set"
        )
    return open_records(_DATA_DIR.value, flag.value, _SPLIT.value, fields=training_fields(domain))


if __name__ == "__main__":
    command.run(main)
