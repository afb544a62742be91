"""Rows of evaluation: mean average precision and Kendall's tau of 10,000 queries."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dsf_jax.evaluation.correlation import kendall_tau
from dsf_jax.evaluation.ranking import ranking_scores
from dsf_jax.retrieval.distances import rank_by_distance
from launch.benchmarks.work import Setting, Work, checked

QUERIES, ITEMS, RATED = 10_000, 1000, 40  # RATED: the images of each sketch of the Eitz benchmark
SMALL_QUERIES = 50
RELEVANT = 0.02  # of the gallery
LOOPED = 10  # a peer loops over one query in ten: its loop's time is the same for every query


def metrics(setting: Setting) -> Iterator[Work]:
    """Average precision from distances, and rank correlation with ratings."""
    rng = np.random.default_rng(0)
    q = SMALL_QUERIES if setting.small else QUERIES
    distances = rng.random((q, ITEMS), dtype=np.float32)
    relevant = rng.random((q, ITEMS)) < RELEVANT
    relevant[:, 0] = True
    ratings = rng.integers(0, 8, (q, RATED)) / 2
    closeness = rng.standard_normal((q, RATED))

    def scored() -> np.ndarray:
        ranking = rank_by_distance(distances)
        return ranking_scores(ranking, relevant).values["mAP"]

    peers: dict[str, Callable[[], Any]] = {}
    if sklearn := setting.peer("sklearn"):
        peers["scikit-learn"] = lambda: [
            sklearn.average_precision_score(relevant[i], -distances[i]) for i in range(0, q, LOOPED)
        ]
    yield _work("mAP", scored, peers, q, ITEMS, distances.nbytes + relevant.nbytes)

    def correlated() -> np.ndarray:
        return kendall_tau(ratings, closeness).tau_b

    peers = {}
    if scipy := setting.peer("scipy"):
        peers["SciPy"] = lambda: [
            scipy.kendalltau(ratings[i], closeness[i]).statistic for i in range(0, q, LOOPED)
        ]
    yield _work("tau", correlated, peers, q, RATED, ratings.nbytes + closeness.nbytes)


def _work(
    what: str,
    ours: Callable[[], np.ndarray],
    peers: dict[str, Callable[[], Any]],
    queries: int,
    items: int,
    moved: float,
) -> Work:
    values = ours()[::LOOPED]
    return Work(
        f"{what}, {queries} x {items}",
        ours,
        queries,
        "queries",
        peers,
        {
            name: checked(float(np.abs(np.array(call()) - values).max()), "scores", name)
            for name, call in peers.items()
        },
        repeats=dict.fromkeys(peers, LOOPED),
        moved=moved,
    )
