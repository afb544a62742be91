"""A gallery's answer to a query: the nearest pictures, near-duplicates as one, and how near they are."""

import io
from collections.abc import Collection, Sequence

import numpy as np

from dsf_jax.data.pictures import decode_picture
from dsf_jax.gallery.gallery import Gallery, Neighbour
from dsf_jax.retrieval.near_duplicates import Duplicates, group, shrink
from dsf_jax.retrieval.nearness import NUM_COMPARED, SAMPLE_SIZE, Nearness

MIN_ASKED = 32  # pictures that are asked for are 32, 64, 128, ...: few numbers, few compilations
LOOKED_THROUGH = 4  # times as many pictures as results, where near-duplicates are looked for
MOST_ASKED = 4  # times as many again, where they fill the places
REDRAWN = 0.05  # change of the gallery's size after which its standard is calibrated again
MOST_KEPT = 50_000  # shrunk pictures, 768 bytes each


class Finder:
    """Finds pictures of a gallery; its methods may be called from many threads."""

    def __init__(self, gallery: Gallery, *, duplicates: Duplicates = "grouped") -> None:
        """Keeps the gallery.

        Args:
          gallery: open gallery.
          duplicates: whether near-duplicates are one result or several.
        """
        self.gallery, self.duplicates = gallery, duplicates
        self._shrunk: dict[str, np.ndarray] = {}
        self._nearness: Nearness | None = None
        self._made = ""  # of the gallery that it is of

    def nearest(
        self,
        vector: np.ndarray,
        count: int,
        *,
        labels: Sequence[str] = (),
        folder: str | None = None,
        omitted: Collection[str] = (),
    ) -> list[list[Neighbour]]:
        """Finds the nearest pictures, see `Gallery.nearest`.

        Args:
          vector: [p] float32, in the gallery's space.
          count: number of groups, at most; fewer than there are where one picture's near-duplicates fill
            the places of several times as many.
          labels: labels of the pictures that are searched; all where there are none.
          folder: folder that they lie in or below; all where it is None.
          omitted: ids of pictures that are omitted, and their near-duplicates with them.

        Returns:
          A picture and those of its near-duplicates that are about as near, nearest first; each alone
          where they are separate.

        Raises:
          ValueError: when no picture has such a label or folder.
        """
        times = LOOKED_THROUGH if self.duplicates == "grouped" else 1
        asked = power_of_two(times * count + len(omitted), MIN_ASKED)
        most = MOST_ASKED * asked
        while True:
            (found,) = self.gallery.nearest(vector[None], asked, labels=labels, folder=folder)
            kept = [neighbour for neighbour in found if neighbour.picture.id not in omitted]
            groups = self._grouped(kept, list(omitted))
            if len(groups) >= count or len(found) < asked or asked == most:
                return groups[:count]
            asked *= 2

    def nearness(self) -> Nearness:
        """Returns the gallery's standard of what is near, calibrated again when the gallery has changed."""
        count, made, nearness = len(self.gallery), self.gallery.made, self._nearness
        size = nearness.gallery_size if nearness else 0
        if nearness is None or abs(count - size) > REDRAWN * size or made != self._made:
            vectors = self.gallery.sample(min(SAMPLE_SIZE, count), seed=0)
            nearness = Nearness.calibrated(vectors, count, self._nearest_vectors)
            self._nearness, self._made = nearness, made
        return nearness

    def nothing_near(self, vector: np.ndarray, groups: Sequence[Sequence[Neighbour]]) -> bool:
        """Returns whether an answer of `nearest` most likely has nothing to do with the query."""
        if not groups:
            return False
        first = [members[0].picture.id for members in groups[:NUM_COMPARED]]
        return self.nearness().nothing_near(vector, self.gallery.vectors(first))

    def _nearest_vectors(self, vectors: np.ndarray, k: int) -> list[np.ndarray]:
        """Finds the vectors [at most k, p] of the pictures nearest to each of the vectors [q, p]."""
        found = self.gallery.nearest(vectors, k)
        ids = [[neighbour.picture.id for neighbour in neighbours] for neighbours in found]
        rows = self.gallery.vectors([id for near in ids for id in near])
        return np.split(rows, np.cumsum([len(near) for near in ids])[:-1])

    def _grouped(self, kept: list[Neighbour], omitted: list[str]) -> list[list[Neighbour]]:
        """Joins near-duplicates; those of omitted pictures go."""
        if self.duplicates == "separate" or not kept:
            return [[neighbour] for neighbour in kept]
        shrunk = self._shrink([*omitted, *(neighbour.picture.id for neighbour in kept)])
        return [
            [kept[place - len(omitted)] for place in places]
            for places in group(shrunk)
            if places[0] >= len(omitted)
        ]

    def _shrink(self, ids: Sequence[str]) -> list[np.ndarray]:
        """Shrinks the thumbnails of pictures, those that were not met before."""
        if len(self._shrunk) > MOST_KEPT:
            self._shrunk = {}
        known = self._shrunk  # another thread may begin with an empty one
        missing = [id for id in dict.fromkeys(ids) if id not in known]
        for id, thumbnail in zip(missing, self.gallery.thumbnails(missing), strict=True):
            picture = decode_picture(io.BytesIO(thumbnail), f"the thumbnail of {id}")
            known[id] = shrink(picture)
        return [known[id] for id in ids]


def power_of_two(count: int, least: int) -> int:
    """Returns `least` times the least power of two that makes it `count` or more."""
    return least << (-(-count // least) - 1).bit_length()
