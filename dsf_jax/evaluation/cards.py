"""How well a model retrieves, for its card."""

from collections.abc import Mapping

from dsf_jax.data.mixtures import DRAWN, Mixture
from dsf_jax.evaluation.protocols.category_retrieval import category_retrieval
from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.models.model import Model
from dsf_jax.models.model_card import FeatureScore, RetrievalScore
from dsf_jax.retrieval.features import extract

SKETCH = "sketch"  # the domain of queries


def retrieval_score(results: Mapping[str, ResultRecord]) -> RetrievalScore:
    """Makes the entry of a card.

    Args:
      results: {feature: result of `category_retrieval`}, of one evaluation by `evaluate.retrieval`.
    """
    data = next(iter(results.values())).configuration["data"]
    sketches, photos = (
        tuple(f"{one['name']} [{one['split']}]" for one in data[kind])
        for kind in ("sketches", "photos")
    )
    return _score(results, sketches, photos)


def held_out_score(model: Model, mixture: Mixture) -> RetrievalScore | None:
    """Retrieves held-out photos by held-out sketches, by each feature that is compared; None where no
    sketch has a photo of its class. Edge maps are no sketches: those of the photos are found too easily.

    Args:
      model: network with its parameters.
      mixture: examples that it was not trained on.
    """
    sketches = mixture.drawings.where(mixture.drawings.domains() == SKETCH)
    photos = set(mixture.photos.labels.tolist())
    if photos.isdisjoint(sketches.labels.tolist()):
        return None
    layers = model.backbone.compared_features
    queries = extract(model, sketches, layers=layers, label="held-out sketches")
    gallery = extract(model, mixture.photos, layers=layers, label="held-out photos")
    results = {
        layer: category_retrieval(
            queries[layer],
            sketches.labels,
            gallery[layer],
            mixture.photos.labels,
            configuration={},
        )
        for layer in layers
    }
    used = [count for count in mixture.counts if sum(count.per_class)]
    return _score(
        results,
        tuple(count.source for count in used if count.domain == SKETCH),
        tuple(count.source for count in used if count.domain not in DRAWN),
    )


def _score(
    results: Mapping[str, ResultRecord], sketches: tuple[str, ...], photos: tuple[str, ...]
) -> RetrievalScore:
    counts = next(iter(results.values())).counts
    features = []
    for layer, result in results.items():
        p10 = result.numbers.get("P@10")
        features.append(FeatureScore(layer, result.numbers["mAP"].value, p10 and p10.value))
    return RetrievalScore(
        sketches, photos, counts["queries"], counts["gallery"], counts["classes"], tuple(features)
    )
