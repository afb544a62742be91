"""Relevance feedback."""

import numpy as np

# Rocchio's beta and gamma, as Salton and Buckley (1990) settled them.
LIKED_WEIGHT, DISLIKED_WEIGHT = 0.75, 0.15


def rocchio(vector: np.ndarray, liked: np.ndarray, disliked: np.ndarray) -> np.ndarray:
    """Moves a query towards pictures that were marked as right and away from wrong ones: Rocchio's
    q + .75 mean(liked) - .15 mean(disliked), scaled to the length of q.

    Args:
      vector: [d] query as it was at first.
      liked: [i, d] vectors of right pictures, i may be 0.
      disliked: [j, d] vectors of wrong pictures, j may be 0.

    Returns:
      [d] float32.
    """
    moved = vector.astype(np.float64)
    if len(liked):
        moved = moved + LIKED_WEIGHT * liked.mean(axis=0, dtype=np.float64)
    if len(disliked):
        moved = moved - DISLIKED_WEIGHT * disliked.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(moved)
    return (moved * (np.linalg.norm(vector) / (length or 1.0))).astype(np.float32)
