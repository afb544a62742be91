# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Score your own vectors
#
# Exact search and scores with intervals take any arrays: features of `launch.extract`, of an exported network, or of
# another library. Here they are made up: 200 photos of 10 classes, and 50 sketches that lie near their class.

# %%
import numpy as np

from dsf_jax.evaluation.ranking import METRICS, ranking_scores
from dsf_jax.evaluation.statistics import bootstrap
from dsf_jax.retrieval.distances import distance_blocks, rank_by_distance
from dsf_jax.retrieval.euclidean import search

rng = np.random.default_rng(0)
centres = rng.normal(size=(10, 64))
photo_labels, sketch_labels = np.arange(200) % 10, np.arange(50) % 10


def near(labels: np.ndarray, spread: float) -> np.ndarray:
    """Vectors [n, 64] of length 1 around the centres of their classes."""
    vectors = centres[labels] + spread * rng.normal(size=(len(labels), 64))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


photos, sketches = near(photo_labels, 1.0), near(sketch_labels, 2.0)

# %% [markdown]
# ## The nearest
#
# Exact, block by block, whatever the gallery's size.

# %%
nearest = search(sketches[:1], photos, 5)
print(nearest.indices[0], np.sqrt(nearest.squared_distances[0]).round(3))

# %% [markdown]
# ## Scores
#
# A ranking of the whole gallery per query, a block of queries at a time; which photos are relevant; and the scores by
# name, query by query.

# %%
parts = []
for block, distances in distance_blocks(sketches, photos):
    relevance = sketch_labels[block, None] == photo_labels[None]
    ranking = rank_by_distance(distances)
    parts.append(ranking_scores(ranking, relevance, metrics=("mAP", "P@10", "recall@10")))
scores = sum(parts[1:], start=parts[0])

# %% [markdown]
# A mean of queries comes with its interval. Queries of one class are not independent, so whole classes are drawn.

# %%
for name, values in scores.values.items():
    mean, low, high = bootstrap(values[scores.counted], sketch_labels[scores.counted])
    print(
        f"{name:10} {mean:.3f} [{low:.3f}, {high:.3f}]  {METRICS[name.partition('@')[0]].definition}"
    )

assert bootstrap(scores.values["mAP"]).value > 0.5
