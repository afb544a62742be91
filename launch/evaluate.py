r"""Scores a checkpoint on prepared data sets: recognition, or retrieval of photos by sketches.

python -m launch.evaluate --what=retrieval --checkpoint=runs/quickstart --data_dir=runs/quickstart/data \
    --sketches=openmoji/sketch --photos=openmoji/photo --split=test
"""

import dataclasses
import json
import pathlib

from absl import flags

from dsf_jax.data.mixtures import drawing_fields
from dsf_jax.data.records import open_records
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
    out = pathlib.Path(_JSON.value) if _JSON.value else None
    if out and out.exists():
        raise FileExistsError(f"{out} exists; choose another --json")
    sketches = open_records(
        _DATA_DIR.value, _SKETCHES.value, _SPLIT.value, fields=drawing_fields("sketch")
    )
    results: list[RetrievalResult] | list[RecognitionResult]
    if _WHAT.value == "retrieval":
        photos = open_records(
            _DATA_DIR.value, _PHOTOS.value, _SPLIT.value, fields=drawing_fields("photo")
        )
        results = stages.retrieval(*load_model(_CHECKPOINT.value), sketches, photos)
    else:
        results = [stages.recognise(*load_model(_CHECKPOINT.value), sketches)]
    text = json.dumps([dataclasses.asdict(result) for result in results], indent=1)
    print(text)
    if out:
        out.write_text(text + "\n")


if __name__ == "__main__":
    command.run(main)
