r"""Scores a checkpoint on prepared data sets.

python -m launch.evaluate --what=retrieval --checkpoint=runs/quickstart --data_dir=runs/quickstart/data \
    --sketches=openmoji/sketch --photo_sets=openmoji/photo --split=test

Zero-shot, of a run that was trained with the same --unseen, as the literature scores it; with --generalised
among the photos of all classes:

python -m launch.evaluate --what=retrieval --checkpoint=runs/seen --data_dir=data --unseen=sketchy-25 \
    --sketches=sketchy/sketch:train+test --photo_sets=sketchy/photo:train+test --at=100,200

MIEB's SketchyI2IRetrieval, every sketch against every photo; its R@1 is P@1 here, its P@100 and mAP@1000 are
P@100 and bounded mAP@1000:

python -m launch.evaluate --what=retrieval --checkpoint=runs/any --data_dir=data --at=1,100,1000 \
    --sketches=sketchy/sketch:train+test --photo_sets=sketchy/photo:train+test

Each sketch's own photo, among the test photos of all classes and of its class (Sketchy, 2016):

python -m launch.evaluate --what=instance_retrieval --checkpoint=runs/any --data_dir=data \
    --sketches=sketchy/sketch --photo_sets=sketchy/photo

How soon a search helps while one draws, on drawings that have strokes; launch.figures draws the curve:

python -m launch.evaluate --what=early_drawings --checkpoint=runs/any --data_dir=data --out=scores \
    --sketches=quickdraw/sketch --photo_sets=sketchy/photo --class_map=map.json

What a search gains when a sketch is shown with its mirror image, or by all of its 18 views:

python -m launch.evaluate --what=retrieval --checkpoint=runs/any --data_dir=data --query_views=mirrored \
    --sketches=sketchy/sketch --photo_sets=sketchy/photo

It prints a small table; --json prints all of each result instead. With --out, each result is also kept in a
file of its own, and a command that was killed goes on where it was.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence

from absl import flags

from dsf_jax.data import datasets
from dsf_jax.data.class_maps import read_class_map
from dsf_jax.data.mixtures import DRAWN
from dsf_jax.data.records import Records
from dsf_jax.data.unseen import read_unseen
from dsf_jax.evaluation import evaluate
from dsf_jax.evaluation.cards import SKETCH, retrieval_score
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.evaluation.results import ResultRecord, as_dict
from dsf_jax.evaluation.summary import summary
from dsf_jax.evaluation.zero_shot import ZeroShot
from dsf_jax.models.model import Model
from dsf_jax.training.checkpoints import record_retrieval
from dsf_jax.training.model_sources import kind_of, open_model
from launch import common, shared_flags

PROTOCOLS = {
    "retrieval": "category_retrieval",
    "instance_retrieval": "instance_retrieval",
    "early_drawings": "early_drawings",
}

_WHAT = flags.DEFINE_enum(
    "what",
    "retrieval",
    ["recognition", "retrieval", "instance_retrieval", "early_drawings"],
    "recognition: accuracy on sketches of the checkpoint's classes, single angle "
    "and voted. retrieval: sketches as queries against photos of the same classes. instance_retrieval: the "
    "photo that each sketch was drawn from, where that is known (sketchy). early_drawings: the first photo "
    "of a sketch's class after a quarter, a half, three quarters and all of its strokes.",
)
_CHECKPOINT = shared_flags.define_checkpoint()
_DATA_DIR = shared_flags.define_data_dir()
_SKETCHES = shared_flags.define_sketches()
_PHOTOS = shared_flags.define_photo_sets()
_SPLIT = shared_flags.define_split("test")
_CLASS_MAP = shared_flags.define_class_map()
_OUT = flags.DEFINE_string(
    "out", None, "Folder of the results, one JSON file each; nothing is overwritten."
)
_AT = flags.DEFINE_list(
    "at",
    None,
    "Each K of P@K, recall@K, NDCG@K and mAP@K of retrieval: 100,200 as tables of zero-shot retrieval have "
    "it, 1,100,1000 as MIEB has it; by default 1 and 10 without mAP@K. mAP@K comes divided by min(K, all "
    "relevant), by the relevant among the first K, and with interpolated precision. Of acc@K of "
    "instance_retrieval; by default 1 and 5. Of early_drawings, the K first photos; by default 1 and 10.",
)
_UNSEEN = shared_flags.define_unseen("asked for alone, among photos of their own")
_GENERALISED = shared_flags.define_generalised()
_QUERY_VIEWS = shared_flags.define_query_views()
_JSON = flags.DEFINE_bool("json", False, "Print all of each result as JSON, not a table.")
_CUTOFFS = "must be whole numbers of at least 1, each once: 10,100,200; correct it"
flags.register_validator("at", lambda ks: ks is None or _are_cutoffs(ks), _CUTOFFS)


def _are_cutoffs(ks: Sequence[str]) -> bool:
    plain = all(k.isascii() and k.isdecimal() and int(k) > 0 for k in ks)
    return bool(ks) and plain and len({*map(int, ks)}) == len(ks)


def main() -> None:
    """Evaluates as the flags say."""
    out = _OUT.value and pathlib.Path(_OUT.value)
    results = _evaluate(_CHECKPOINT.value, out or None)
    if _JSON.value:
        print(json.dumps([as_dict(record) for record in results], indent=1, ensure_ascii=False))
        return
    print(summary(results))


def _evaluate(checkpoint: str, out: pathlib.Path | None) -> list[ResultRecord]:
    """Scores one checkpoint."""
    class_map = read_class_map(_CLASS_MAP.value)
    sketches = _sketches()
    photos = [] if _WHAT.value == "recognition" else _photos()
    name = "/".join(pathlib.Path(checkpoint).parts[-2:])  # the same from wherever it is named
    network = NamedModel(name, open_model(checkpoint))
    if photos:
        unseen = read_unseen(_UNSEEN.value)
        made = evaluate.retrieval(
            network,
            sketches,
            photos,
            protocol=PROTOCOLS[_WHAT.value],
            class_map=class_map,
            zero_shot=ZeroShot(unseen, _GENERALISED.value) if unseen else None,
            ks=tuple(map(int, _AT.value)) if _AT.value else None,
            query_views=_QUERY_VIEWS.value,
            results=out,
        )
        # A card says what to expect of a search among all pictures, by sketches and by what is its default.
        usual = _WHAT.value == "retrieval" and not unseen and _QUERY_VIEWS.value == "one"
        usual &= all(records.domain == SKETCH for records in sketches)
        if usual and kind_of(checkpoint) == "checkpoint":  # another folder is left as it is
            _record(checkpoint, network.model, made)
        return list(made.values())
    return [evaluate.recognise(network, sketches, class_map=class_map, results=out)]


def _record(checkpoint: str, model: Model, results: Mapping[str, ResultRecord]) -> None:
    """Writes into the checkpoint's card how well it retrieves; says when that decides what it is searched
    by.
    """
    try:
        now = record_retrieval(checkpoint, model, retrieval_score(results)).default_feature
    except OSError as error:
        common.note(f"{checkpoint} does not say how well it retrieves: {common.explain(error)}")
        return
    if now != model.default_feature:
        common.note(
            f"{checkpoint} is searched by {now} from now on, for that was best here, and no longer by "
            f"{model.default_feature}; --layer chooses another, and galleries keep theirs"
        )


def _sketches() -> list[Records]:
    return datasets.open_datasets(_DATA_DIR.value, _SKETCHES.value, _SPLIT.value, DRAWN)


def _photos() -> list[Records]:
    return datasets.open_datasets(_DATA_DIR.value, _PHOTOS.value, _SPLIT.value, ("photo",))


if __name__ == "__main__":
    own = (_PHOTOS, _AT, _UNSEEN, _GENERALISED, _QUERY_VIEWS)
    common.run(main, common.Choice(_WHAT, dict.fromkeys(PROTOCOLS, own)))
