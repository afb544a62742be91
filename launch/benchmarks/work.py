"""What is timed: a piece of work of ours, others doing the same, and how the results compare."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from launch.benchmarks.limits import COPY, MATRIX, limits
from launch.benchmarks.timing import Ratio, Timing, ratio, seconds_in_turn, timing

OURS = "dsf_jax"
PEERS = {
    "torch": "torch",
    "faiss": "faiss",
    "usearch": "usearch.index",
    "opencv": "cv2",
    "skimage": "skimage.morphology",
    "sklearn": "sklearn.metrics",
    "scipy": "scipy.stats",
    "numpy": "numpy",
}  # name: module

# Relative, by norm, unless it says otherwise. Other work would be off by 0.5 and more.
TOLERANCE = {
    "logits": 1e-5,
    "bfloat16 logits": 5e-2,
    # A maximum or ReLU that rounding decides the other way moves a convolution's whole gradient, the
    # more often the more images there are: PyTorch's own float32 and float64 gradients of 24 images
    # are 2e-3 apart.
    "updates": 2e-2,
    "bfloat16 updates": 2e-1,
    "probabilities": 1e-4,
    "bfloat16 probabilities": 5e-2,
    "turned pixels": 2e-2,  # fraction of our ink that theirs has not, a pixel's width allowed
    "maps": 1e-4,  # fraction of pixels: a point that lies on a border rounds to either side
    "points": 0.0,  # fraction of pixels that are theirs and not ours
    "distances": 1e-4,
    "neighbours": 1e-3,  # fraction of rows: rounding decides between some at the last place
    "scores": 1e-5,
    "errors": 2e-2,
    "nothing": 0.0,
}


class Setting(NamedTuple):
    """How the rows are run.

    Attributes:
      batch_size: images in a batch of the network.
      peers: libraries that do the same work, by their names in `PEERS`.
      dtype: type of the network's computation.
      compiled: whether PyTorch compiles its network.
      data_dir: folder of prepared records, for the input pipeline.
      small: sizes that take no time, to try things out.
    """

    batch_size: int = 64
    peers: frozenset[str] = frozenset()
    dtype: str = "float32"
    compiled: bool = False
    data_dir: str = "runs/quickstart/data"
    small: bool = False

    def peer(self, name: str) -> Any:
        """Imports a peer; None where it is not asked for, or absent."""
        if name not in self.peers:
            return None
        try:
            return importlib.import_module(PEERS[name])
        except ImportError:
            return None

    def missing(self) -> list[str]:
        """Names the peers that are asked for and cannot be imported."""
        return sorted(name for name in self.peers if self.peer(name) is None)

    def versions(self) -> dict[str, str]:
        """Versions of the peers that are asked for and can be imported, by name."""
        found = {}
        for name in PEERS:
            if self.peer(name) is not None:
                package = importlib.import_module(PEERS[name].partition(".")[0])
                found[name] = str(package.__version__)
        return found

    def kind(self, name: str) -> str:
        """Names the tolerance of what the network computed in `dtype`."""
        return name if self.dtype == "float32" else f"{self.dtype} {name}"


class Work(NamedTuple):
    """One row before it is timed.

    Attributes:
      what: the work.
      ours: call that does it once and waits for it.
      items: what one call works on.
      unit: unit of the items.
      peers: the same by others' names.
      differences: differences of the peers' results from ours, checked.
      repeats: calls of a peer that are one of ours; 1 by default.
      flops: operations of one call's matrix products.
      moved: bytes that a call cannot but read or write.
      dtype: type of the matrix products.
    """

    what: str
    ours: Callable[[], Any]
    items: int
    unit: str
    peers: Mapping[str, Callable[[], Any]] = {}
    differences: Mapping[str, float] = {}
    repeats: Mapping[str, int] = {}
    flops: float = 0.0
    moved: float = 0.0
    dtype: str = "float32"


class Row(NamedTuple):
    """One line of the table.

    Attributes:
      what: the work.
      who: this library or another.
      seconds: time of the work.
      rate: items per second, by the median.
      unit: unit of the items.
      of_limit: the least time at the machine's measured rates, over the median; 0 if not known.
      ratio: its time over ours, round by round.
      difference: difference of its results from ours; None for ours.
    """

    what: str
    who: str
    seconds: Timing
    rate: float
    unit: str
    of_limit: float
    ratio: Ratio
    difference: float | None


def relative_difference(ours: Any, theirs: Any) -> float:
    """Norm of the difference over our norm, the largest among a tree's leaves."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(
        float(np.linalg.norm(np.asarray(b) - np.asarray(a)) / np.linalg.norm(np.asarray(a)))
        for a, b in pairs
    )


class DifferentWorkError(ValueError):
    """Two that are to be compared do not compute the same."""


def checked(difference: float, kind: str, who: str) -> float:
    """Passes on a difference within TOLERANCE.

    Raises:
      DifferentWorkError: when it is larger, or not a number.
    """
    if not difference <= TOLERANCE[kind]:
        raise DifferentWorkError(
            f"the {kind} of {who} differ from ours by {difference:.1e}, at most {TOLERANCE[kind]:.0e} "
            "is rounding; what would be timed is not the same work: fix one of the two first"
        )
    return difference


def timed(
    work: Work, rounds: int, *, most_seconds: float = np.inf, small: bool = False
) -> list[Row]:
    """Times a work's calls and the machine's limits in turn.

    Args:
      work: piece of work of one of the rows.
      rounds: timings of each call.
      most_seconds: see `seconds_in_turn`.
      small: measures the limits in no time.

    Returns:
      A row for ours, and one per peer.
    """
    best = limits(work.dtype, small=small)
    calls = {**best.calls, OURS: work.ours, **work.peers}
    rounds_of = seconds_in_turn(calls, rounds, most_seconds=most_seconds)
    least = best.seconds(work.flops, work.moved, rounds_of)
    del rounds_of[MATRIX], rounds_of[COPY]
    for name, repeats in work.repeats.items():
        rounds_of[name] = [repeats * x for x in rounds_of[name]]
    rows = []
    for who, each in rounds_of.items():
        seconds = timing(each)
        rows.append(
            Row(
                work.what,
                who,
                seconds,
                work.items / seconds.median,
                work.unit,
                least / seconds.median,
                ratio(each, rounds_of[OURS]),
                work.differences.get(who),
            )
        )
    return rows
