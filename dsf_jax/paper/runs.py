"""The paper's tables and Fig. 4 made again, cell by cell: what can be run is run, once; for the rest
the reason is given.
"""

from collections.abc import Callable, Mapping, Sequence

from dsf_jax.data.class_maps import ClassMap
from dsf_jax.data.datasets import DataSetSpec
from dsf_jax.data.records import Records, list_datasets, open_records
from dsf_jax.evaluation import evaluate, fisher_vectors
from dsf_jax.evaluation.extractors import (
    NO_LAYER,
    FeatureExtractor,
    FisherSift,
    HandCrafted,
    NamedModel,
)
from dsf_jax.evaluation.fisher_vectors import FISHER
from dsf_jax.evaluation.protocols.tu_berlin import join_folds
from dsf_jax.evaluation.results import ResultRecord, over_folds
from dsf_jax.evaluation.zero_shot import ZeroShot
from dsf_jax.images.descriptors import Descriptor
from dsf_jax.paper import layout
from dsf_jax.paper.numbers import EITZ, FEATURES, RUNS, SKETCH_A_NET, SKETCHES, TABLE_3, VOC
from dsf_jax.paper.run_checks import (
    ReproductionConfig,
    check_classes,
    check_resizing,
    check_unseen,
    missing_data,
    missing_runs,
)
from dsf_jax.paper.tables import NotRun, Outcome, ResultTable
from dsf_jax.training.checkpoints import load_model

BASELINES: tuple[Descriptor, ...] = ("HOG", "raw pixels")
POOL5 = "pool5, not fine-tuned"
NOT_PRETRAINED = NotRun(
    "needs the pretrained network: name what launch.port_weights wrote with --pretrained"
)
Curve = list[tuple[int, float, float, float]]  # (negatives, value, low, high) each


def reproduce_table_1(config: ReproductionConfig, sketches: str = SKETCHES) -> ResultTable:
    """Recognises the sketches of each fold with the run that did not see them."""
    return layout.table_1({run: _recognition(config, run, sketches) for run in RUNS})


def reproduce_table_2(config: ReproductionConfig, sketches: str = SKETCHES) -> ResultTable:
    """Recognises sketches with the run S, with Sketch-a-Net, and with linear classifiers of features that
    were not learned from sketches.
    """
    baselines = _over_baselines(
        config, [sketches], lambda extractor, layer: _linear(config, extractor, layer, sketches)
    )
    rivals = {SKETCH_A_NET: _recognition(config, SKETCH_A_NET, sketches)}
    return layout.table_2(_recognition(config, "S", sketches), rivals, baselines)


def reproduce_table_3(
    config: ReproductionConfig, sketches: str = EITZ[0], photos: str = EITZ[1]
) -> ResultTable:
    """Correlates distances with people's ratings."""

    def make(extractor: FeatureExtractor, *layers: str) -> dict[str, ResultRecord]:
        pair = [open_records(config.data_dir, *_named(name, "test")) for name in (sketches, photos)]
        return evaluate.retrieval(
            extractor,
            pair[:1],
            pair[1:],
            protocol="eitz_sbir",
            layers=layers or FEATURES,
            results=config.results,
        )

    found: dict[tuple[str, str], Outcome] = {}
    for run in TABLE_3:
        joined = _over_runs(config, run, (sketches, photos), make)
        for layer in FEATURES:
            found[run, layer] = joined if isinstance(joined, NotRun) else joined[layer]
    baselines = _over_baselines(
        config, (sketches, photos), lambda extractor, layer: make(extractor, layer)[layer]
    )
    return layout.table_3(found, baselines)


def reproduce_figure_4(
    config: ReproductionConfig, sketches: str = VOC[0], photos: str = VOC[1]
) -> tuple[ResultTable, dict[str, dict[str, Curve]]]:
    """Retrieves VOC's photos among more and more negatives.

    Returns:
      The table, and the curves of the runs and baselines that there are: {run: {class: [(negatives,
      value, low, high)]}}.
    """

    def make(extractor: FeatureExtractor, layer: str = FEATURES[-1]) -> ResultRecord:
        queries = open_records(config.data_dir, *_named(sketches, "test"))
        every = "+".join(list_datasets(config.data_dir)[DataSetSpec.parse(photos).name])
        gallery = open_records(config.data_dir, *_named(photos, every))
        made = evaluate.retrieval(
            extractor,
            [queries],
            [gallery],
            protocol="voc_retrieval",
            layers=(layer,),
            results=config.results,
        )
        return made[layer]

    found: dict[str, Outcome] = {}
    for run in TABLE_3:  # the mixtures that the paper's retrieval compares
        joined = _over_runs(
            config, run, (sketches, photos), lambda extractor: {"": make(extractor)}
        )
        found[run] = joined if isinstance(joined, NotRun) else joined[""]
    found |= _over_baselines(config, (sketches, photos), make)
    curves = {
        run: {
            name: [(point.negatives, *point.value) for point in curve]
            for name, curve in layout.curves_of(record).items()
        }
        for run, record in found.items()
        if isinstance(record, ResultRecord)
    }
    return layout.figure_4(found), curves


def compare_retrieval(
    config: ReproductionConfig,
    sketches: Sequence[Records],
    photos: Sequence[Records],
    checkpoints: Mapping[str, str],
    *,
    class_map: ClassMap | None,
    zero_shot: ZeroShot | None = None,
) -> ResultTable:
    """Retrieves photos by sketches of their class, with baselines and checkpoints.

    Args:
      config: see `ReproductionConfig`.
      sketches: data sets of queries.
      photos: data sets of the gallery.
      checkpoints: {name: path}.
      class_map: see `mix`.
      zero_shot: classes to ask for alone; None asks for all.

    Returns:
      The table.
    """

    def make(extractor: FeatureExtractor, *layers: str) -> dict[str, ResultRecord]:
        return evaluate.retrieval(
            extractor,
            sketches,
            photos,
            class_map=class_map,
            zero_shot=zero_shot,
            layers=layers or None,
            results=config.results,
        )

    baselines = _over_baselines(config, (), lambda extractor, layer: make(extractor, layer)[layer])
    found: dict[tuple[str, str], Outcome] = {(name, ""): one for name, one in baselines.items()}
    for name, path in checkpoints.items():
        made = make(NamedModel(name, load_model(path)))
        found |= {(name, layer): record for layer, record in made.items()}
    return layout.retrieval_table(found)


def _over_baselines(
    config: ReproductionConfig,
    datasets: Sequence[str],
    make: Callable[[FeatureExtractor, str], Outcome],
) -> dict[str, Outcome]:
    """Evaluates what was not learned from sketches: hand-crafted descriptors, and pool5 of the pretrained
    network.
    """
    if missing := missing_data(config, datasets):
        return dict.fromkeys((*BASELINES, FISHER, POOL5), _not_run(missing))
    found: dict[str, Outcome] = {name: make(HandCrafted(name), NO_LAYER) for name in BASELINES}
    try:
        fisher_vectors.check_installed()
        found[FISHER] = make(FisherSift(), NO_LAYER)
    except ImportError as error:
        found[FISHER] = NotRun(str(error))
    if config.pretrained is None:
        return found | {POOL5: NOT_PRETRAINED}
    return found | {POOL5: make(NamedModel(POOL5, load_model(config.pretrained)), "pool5")}


def _over_runs(
    config: ReproductionConfig,
    run: str,
    datasets: Sequence[str],
    make: Callable[[NamedModel], Mapping[str, ResultRecord]],
) -> Mapping[str, ResultRecord] | NotRun:
    """Evaluates the models of all folds on the same data and joins what they give, name by name."""
    if missing := [*missing_data(config, datasets), *missing_runs(config, run)]:
        return _not_run(missing)
    folds = [make(_open_run(config, run, fold)) for fold in config.folds]
    return {name: over_folds([results[name] for results in folds]) for name in folds[0]}


def _recognition(config: ReproductionConfig, run: str, sketches: str) -> Outcome:
    """Tests the model of each fold on its own fold."""
    if missing := [*missing_data(config, [sketches]), *missing_runs(config, run)]:
        return _not_run(missing)
    records = []
    for fold in config.folds:
        test = open_records(config.data_dir, sketches, f"fold{fold}")
        check_unseen(config.runs / run / f"fold{fold}", test)
        named = _open_run(config, run, fold)
        check_classes(named, test)
        records.append(evaluate.recognise(named, [test], results=config.results, fold=fold))
    return join_folds(records)


def _not_run(missing: Sequence[str]) -> NotRun:
    """Says each thing that is missing once: a run's data may be what it is evaluated on."""
    return NotRun("; ".join(dict.fromkeys(missing)))


def _linear(
    config: ReproductionConfig, extractor: FeatureExtractor, layer: str, sketches: str
) -> ResultRecord:
    """Trains a linear classifier on the other folds, and tests it on each fold."""
    splits = [s for s in list_datasets(config.data_dir)[sketches] if s.startswith("fold")]
    if len(splits) < 2:
        raise ValueError(
            f"{sketches} is not cut into folds; name a data set that is, as {SKETCHES}"
        )
    records = []
    for fold in config.folds:
        others = "+".join(split for split in splits if split != f"fold{fold}")
        train, test = (
            [open_records(config.data_dir, sketches, split)] for split in (others, f"fold{fold}")
        )
        records.append(
            evaluate.linear_recognition(
                extractor, train, test, layer=layer, results=config.results, fold=fold
            )
        )
    return join_folds(records)


def _named(dataset: str, split: str) -> tuple[str, str]:
    """NAME or NAME:SPLIT -> name and split."""
    spec = DataSetSpec.parse(dataset)
    return spec.name, spec.split or split


def _open_run(config: ReproductionConfig, run: str, fold: int) -> NamedModel:
    """Reads the model of a fold; ValueError when its sketches were resized otherwise than its run's name says."""
    named = NamedModel(f"{run}/fold{fold}", load_model(config.runs / run / f"fold{fold}"))
    check_resizing(named, run)
    return named
