"""Which examples stand in which training batch: shuffled, or several of each of some classes; a function
of (seed, step).
"""

from collections.abc import Callable

import grain
import numpy as np

# Number of a step -> rows of the examples in its batch, [b].
Order = Callable[[int], np.ndarray]


def shuffled(examples: int, *, size: int, seed: int) -> Order:
    """Shuffles examples, again in every one of their epochs.

    Args:
      examples: their number n.
      size: examples b per batch.
      seed: seed of the order.
    """
    rows = grain.MapDataset.range(examples).seed(seed).shuffle().repeat().batch(size)
    return lambda step: np.asarray(rows[step])


def by_class(
    labels: np.ndarray, domains: np.ndarray, *, per_class: int, batch_size: int, seed: int
) -> Order:
    """Draws some classes for each batch, and as many examples of each from every domain.

    A class that a domain lacks gives its place there to another one, one that is not in the batch yet
    where there is such a class with enough examples. All classes are shown equally often, however many
    examples they have; those of one class are shown twice in a batch only where there are too few.

    Args:
      labels: [n] int32.
      domains: [n] names, "sketch", "photo" or "edge".
      per_class: examples of a class from each domain.
      batch_size: examples b per batch.
      seed: seed of the draws.

    Returns:
      The order; the rows of a batch stand domain by domain, in the order of their names.

    Raises:
      ValueError: for a batch that cannot hold as many of each, or more classes than there are.
    """
    present = np.unique(domains).tolist()
    classes = np.unique(labels)
    number = _classes_per_batch(batch_size, per_class, len(present), len(classes))
    rows = {name: _rows_by_class(labels, domains == name) for name in present}

    def order(step: int) -> np.ndarray:
        rng = np.random.default_rng([seed, step])
        drawn = rng.choice(classes, number, replace=False).tolist()
        return np.concatenate([_of_domain(rng, rows[name], drawn, per_class) for name in present])

    return order


def _classes_per_batch(batch_size: int, per_class: int, domains: int, classes: int) -> int:
    each = per_class * domains
    number, rest = divmod(batch_size, each)
    if rest or not number:
        fitting = " or ".join(str(n * each) for n in (number, number + 1) if n)
        raise ValueError(
            f"batch_size={batch_size} is no multiple of {each}, examples_per_class={per_class} from each "
            f"of {domains} domain(s); take {fitting}"
        )
    if number > classes:
        raise ValueError(
            f"batch_size={batch_size} holds {each} examples of each of {number} classes, and there are "
            f"{classes}; take {classes * each} or less, or raise examples_per_class={per_class}"
        )
    return number


def _rows_by_class(labels: np.ndarray, of_domain: np.ndarray) -> dict[int, np.ndarray]:
    own = np.flatnonzero(of_domain)
    own = own[np.argsort(labels[own], kind="stable")]
    names, starts = np.unique(labels[own], return_index=True)
    return dict(zip(names.tolist(), np.split(own, starts[1:]), strict=True))


def _of_domain(
    rng: np.random.Generator, rows: dict[int, np.ndarray], drawn: list[int], per_class: int
) -> np.ndarray:
    """Draws as many examples of each class, or of another one where the domain lacks it."""
    classes = list(rows)
    number = {label: place for place, label in enumerate(classes)}
    shown = np.array([number.get(label, -1) for label in drawn])
    # How many times each is in the batch, and how many of its examples that leaves.
    taken = np.bincount(shown[shown >= 0], minlength=len(classes))
    left = np.array([len(rows[label]) for label in classes]) - per_class * taken
    for place in np.flatnonzero(shown < 0):
        cost = np.where(left >= per_class, taken, taken + len(drawn))
        shown[place] = rng.choice(np.flatnonzero(cost == cost.min()))
        taken[shown[place]] += 1
        left[shown[place]] -= per_class
    # One draw per class, in its own order again and again where there are too few.
    some = {
        label: iter(np.resize(rng.permutation(rows[classes[label]]), (times, per_class)))
        for label, times in enumerate(taken.tolist())
        if times
    }
    return np.concatenate([next(some[label]) for label in shown.tolist()])
