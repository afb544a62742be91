r"""Scores a checkpoint on prepared data sets: recognition, or retrieval of photos by sketches.

python -m launch.evaluate --what=retrieval --checkpoint=runs/quickstart --data_dir=runs/quickstart/data \\
    --sketches=openmoji/sketch --photos=openmoji/photo --split=test
"""

import dataclasses
import json
import pathlib

from absl import flags

from dsf_jax.data.mixtures import drawing_fields, mix
from dsf_jax.data.records import Records, open_records
from dsf_jax.evaluation.protocols.category_retrieval import RetrievalResult, category_retrieval
from dsf_jax.evaluation.protocols.recognition import RecognitionResult, recognition
from dsf_jax.models.alexnet import Params
from dsf_jax.retrieval.features import LAYERS, extract
from dsf_jax.training.checkpoints import ModelCard, load_model
from launch import command

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


def retrieval(
    card: ModelCard, params: Params, sketches: Records, photos: Records
) -> list[RetrievalResult]:
    """Scores L6, L7 and L6+L7."""
    # Classes are matched by name over both sets; a class without photos leaves its queries out.
    names = sorted({*sketches.class_names, *photos.class_names})
    mixture = mix([sketches, photos], names)
    layers, model = tuple(LAYERS), card.network()
    queries = extract(
        model, params, mixture.drawings, layers=layers, size=card.size, label="sketches"
    )
    gallery = extract(model, params, mixture.photos, layers=layers, size=card.size, label="photos")
    return [
        category_retrieval(
            queries[layer],
            mixture.drawings.labels,
            gallery[layer],
            mixture.photos.labels,
            layer=layer,
        )
        for layer in layers
    ]


def recognise(card: ModelCard, params: Params, sketches: Records) -> RecognitionResult:
    """Scores single angle and voting on the sketches whose class the checkpoint knows."""
    mixture = mix([sketches], card.class_names)
    print(mixture)
    return recognition(card.network(), params, mixture.drawings, size=card.size)


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
        results = retrieval(*load_model(_CHECKPOINT.value), sketches, photos)
    else:
        results = [recognise(*load_model(_CHECKPOINT.value), sketches)]
    text = json.dumps([dataclasses.asdict(result) for result in results], indent=1)
    print(text)
    if out:
        out.write_text(text + "\n")


if __name__ == "__main__":
    command.run(main)
