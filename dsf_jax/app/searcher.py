"""What a person drew or showed -> pictures of the gallery, what it may be, and why; knows no HTTP."""

import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.app.query import Seen
from dsf_jax.data.mixtures import EDGE_PRESERVING, square_photo
from dsf_jax.data.pictures import decode_picture
from dsf_jax.gallery.gallery import Gallery, Picture
from dsf_jax.images.points import PADDED_LENGTHS, pad_points, padded_length
from dsf_jax.images.views import PHOTO_SIZE, all_views, plain_view
from dsf_jax.models.alexnet import AlexNet, Params, preprocess
from dsf_jax.recognition.voting import vote
from dsf_jax.retrieval.features import features_from
from dsf_jax.training.checkpoints import ModelCard

LIKED, DISLIKED = 0.75, 0.15  # Rocchio's beta and gamma, as Salton and Buckley (1990) settled them
SAMPLED = 1_000  # pictures that a query's distances are compared with
# Deviations closer than the mean that fill 2, 3, 4, 5 of 5 steps. Of 300 unseen OpenMoji drawings, 2,
# 1, 10, 27 and 73 % of the results with so many steps were the right picture of 1,343.
STEPS = (2.0, 3.0, 4.0, 5.0)
ROUNDING = 1e-5
GUESSES = 5
MAPS = "relu5"
FEWEST_FOUND = 32  # pictures that are asked for are 32, 64, 128, ...: few numbers, few compilations


class Query(NamedTuple):
    """Where a search starts.

    Attributes:
      vector: [d] float32, in the gallery's space.
      probabilities: [k] by a single view; None for a picture of the gallery.
      itself: id of the picture that the query is, which is no result.
    """

    vector: np.ndarray
    probabilities: np.ndarray | None = None
    itself: str | None = None


class Result(NamedTuple):
    """A picture that was found.

    Attributes:
      picture: the gallery's entry.
      distance: Euclidean.
      closer_than: share of the gallery that is further away, estimated from a sample.
      steps: 1 to 5, how far it stands out from what is usual for this query.
    """

    picture: Picture
    distance: float
    closer_than: float
    steps: int


class Guess(NamedTuple):
    """A class that a drawing may show.

    Attributes:
      name: of the class.
      probability: in 0..1.
      label: the gallery's label of that name; None where it has none.
      pictures: of that label.
    """

    name: str
    probability: float
    label: str | None
    pictures: int


class Match(NamedTuple):
    """What the network sees of one of the two pictures, and where it sees the same in the other.

    Attributes:
      view: [size, size] or [size, size, 3] uint8.
      strength: [h, w] float32, 0..1.
    """

    view: np.ndarray
    strength: np.ndarray


class Usual(NamedTuple):
    """A query's distances from a sample of the gallery, ascending: what is usual for it."""

    distances: np.ndarray  # [s]

    def closer_than(self, distance: float) -> float:
        """Returns the share of the sample that is further away; the nearest one counts as one of it."""
        reach = distance * (1 + ROUNDING)  # a picture that is in the sample is as near as itself
        nearer = int(np.searchsorted(self.distances, reach, side="right"))
        return 1 - max(nearer, 1) / len(self.distances)

    def steps(self, distance: float) -> int:
        """Returns 1 to 5: by how many deviations the distance is less than the mean one."""
        deviation = float(self.distances.std())
        ahead = (float(self.distances.mean()) - distance) / deviation if deviation > 0 else 0.0
        return 1 + sum(ahead >= step for step in STEPS)


class _Sample(NamedTuple):
    """Vectors of some pictures; without their mean, as rounding grows with the length of vectors."""

    pictures: int  # of the gallery that it is from
    mean: np.ndarray  # [d]
    centred: np.ndarray  # [s, d]
    squares: np.ndarray  # [s]


def refined(vector: np.ndarray, liked: np.ndarray, disliked: np.ndarray) -> np.ndarray:
    """Moves a query towards pictures that were marked as right and away from wrong ones: Rocchio's
    q + .75 mean(liked) - .15 mean(disliked), scaled to the length of q.

    Args:
      vector: [d], the query as it was at first.
      liked: [i, d], i may be 0.
      disliked: [j, d], j may be 0.

    Returns:
      [d] float32.
    """
    moved = vector.astype(np.float64)
    if len(liked):
        moved = moved + LIKED * liked.mean(axis=0, dtype=np.float64)
    if len(disliked):
        moved = moved - DISLIKED * disliked.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(moved)
    return (moved * (np.linalg.norm(vector) / (length or 1.0))).astype(np.float32)


def same_name(name: str) -> str:
    """Brings a class's and a folder's name to one form."""
    return " ".join(name.replace("_", " ").casefold().split())


class Searcher:
    """A network and a gallery that was made with it; its methods may be called from many threads."""

    def __init__(self, card: ModelCard, params: Params, gallery: Gallery, *, layer: str) -> None:
        """Keeps them.

        Args:
          card: of the network.
          params: its parameters.
          gallery: open, made with them.
          layer: the feature that it holds.

        Raises:
          ValueError: for a network that does not take points.
        """
        if card.resizing != EDGE_PRESERVING:
            raise ValueError(
                f"the checkpoint takes drawings resized with resizing={card.resizing}, the page sends "
                f"points; choose one that was trained with resizing={EDGE_PRESERVING}"
            )
        self.gallery, self.card, self.layer = gallery, card, layer
        self._model, self._params = card.network(), params
        self._sample: _Sample | None = None

    def warm_up(self) -> None:
        """Compiles, or reads from jax's cache, what drawings of usual length and photos need."""
        dot = np.array([[340, 340]], np.uint16)
        for length in PADDED_LENGTHS:
            content = {"points": pad_points([dot], length)}
            plain_view(content, size=self.card.size)
            all_views(content, size=self.card.size)
        query = self.query(Seen(points=dot))
        self.guesses(Seen(points=dot))
        self.query(Seen(photo=np.zeros((PHOTO_SIZE, PHOTO_SIZE, 3), np.uint8)))
        self.find(query, 1)

    def query(self, seen: Seen) -> Query:
        """Computes features and single-angle classes of what is shown."""
        features, probabilities, _ = self._see(seen)
        return Query(self.gallery.project(features)[0], probabilities[0])

    def stored(self, identity: str) -> Query:
        """Takes a picture of the gallery as the query; ValueError for an unknown id."""
        self.gallery.get(identity)
        return Query(self.gallery.vectors([identity])[0], itself=identity)

    def find(
        self,
        query: Query,
        count: int,
        *,
        labels: Sequence[str] = (),
        liked: Sequence[str] = (),
        disliked: Sequence[str] = (),
    ) -> list[Result]:
        """Finds the nearest pictures.

        Args:
          query: where to start.
          count: how many pictures, at most.
          labels: only pictures of these, if any.
          liked: ids of pictures that are right.
          disliked: ids of pictures that are wrong; they are left out.

        Returns:
          Nearest first.

        Raises:
          ValueError: for an id that the gallery does not have.
        """
        vector = refined(query.vector, self._vectors(liked), self._vectors(disliked))
        left_out = {*disliked, query.itself}
        wanted = _power_of_two(count + len(left_out), FEWEST_FOUND)
        (found,) = self.gallery.nearest(vector[None], wanted, labels=tuple(labels))
        kept = [match for match in found if match.picture.id not in left_out]
        if not kept:
            return []
        usual = self._usual(vector)
        return [
            Result(
                match.picture,
                match.distance,
                usual.closer_than(match.distance),
                usual.steps(match.distance),
            )
            for match in kept[:count]
        ]

    def guesses(self, seen: Seen) -> list[Guess]:
        """Says what a drawing or a photo may show, by the vote of its 18 views."""
        probabilities = vote(self._model, self._params, _content(seen), size=self.card.size)
        return self.likeliest(np.asarray(probabilities)[0])

    def likeliest(self, probabilities: np.ndarray) -> list[Guess]:
        """Names the likeliest classes, with the pictures that the gallery has of them.

        Args:
          probabilities: [k].
        """
        labels = self.gallery.labels()
        known = {same_name(label): label for label in labels if label is not None}
        guesses = []
        for number in np.argsort(-probabilities, kind="stable")[:GUESSES]:
            name = self.card.class_names[number]
            label = known.get(same_name(name))
            pictures = 0 if label is None else labels[label]
            guesses.append(Guess(name, float(probabilities[number]), label, pictures))
        return guesses

    def why(self, query: Seen | str, identity: str) -> tuple[Match, Match]:
        """Shows where the last convolution finds the same in query and result: of each place, how
        well the best place of the other picture fits to it.

        Args:
          query: what was shown, or the id of a picture of the gallery.
          identity: of the result.

        Returns:
          The query's side and the result's.

        Raises:
          ValueError: for an unknown id.
        """
        sides = [self._thumbnail(query) if isinstance(query, str) else query]
        sides.append(self._thumbnail(identity))
        maps = [np.asarray(self._see(seen)[2][0], np.float32) for seen in sides]
        views = [np.asarray(plain_view(_content(seen), size=self.card.size))[0] for seen in sides]
        first, second = matched(maps[0], maps[1], self._paper)
        return Match(views[0], first), Match(views[1], second)

    @functools.cached_property
    def _paper(self) -> np.ndarray:
        """What white paper answers, [h, w, c]: mostly its border."""
        white = np.full((PHOTO_SIZE, PHOTO_SIZE, 3), 255, np.uint8)
        return np.asarray(self._see(Seen(photo=white))[2][0])

    def _thumbnail(self, identity: str) -> Seen:
        """The thumbnail stands for the picture, whose file may have gone meanwhile."""
        self.gallery.get(identity)
        data = self.gallery.thumbnail(identity)
        picture = decode_picture(io.BytesIO(data), f"the thumbnail of {identity}")
        return Seen(photo=square_photo(picture))

    def _see(self, seen: Seen) -> tuple[np.ndarray, np.ndarray, jax.Array]:
        images = plain_view(_content(seen), size=self.card.size)
        features, probabilities, maps = _run(self._model, self._params, images, self.layer)
        return np.asarray(features), np.asarray(probabilities), maps

    def _vectors(self, identities: Sequence[str]) -> np.ndarray:
        for identity in identities:
            self.gallery.get(identity)
        if not identities:
            return np.zeros((0, 1), np.float32)
        return self.gallery.vectors(list(identities))

    def _usual(self, vector: np.ndarray) -> Usual:
        """Measures the distances of a sample, which is drawn anew when the gallery has changed."""
        count = len(self.gallery)
        sample = self._sample
        if sample is None or sample.pictures != count:
            rows = self.gallery.sample(min(SAMPLED, count), seed=0)
            mean = rows.mean(axis=0)
            centred = rows - mean
            squares = np.einsum("sd,sd->s", centred, centred)
            self._sample = sample = _Sample(count, mean, centred, squares)
        moved = vector - sample.mean
        squares = sample.squares - 2 * (sample.centred @ moved) + moved @ moved
        return Usual(np.sort(np.sqrt(np.maximum(squares, 0.0))))


def matched(
    first: np.ndarray, second: np.ndarray, paper: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compares two pictures' activations place by place.

    The agreement of two places is the inner product of what they answer beyond what paper answers
    there, so that empty places and the picture's border agree with none. A place's strength is its
    best agreement.

    Args:
      first: [h, w, c] float32, not negative.
      second: [h, w, c].
      paper: [h, w, c].

    Returns:
      Strength [h, w] of the first and of the second; the largest is 1, or all are 0.
    """
    flat = [np.maximum(x - paper, 0.0).reshape(-1, x.shape[-1]) for x in (first, second)]
    agreement = flat[0] @ flat[1].T
    largest = agreement.max() or 1.0
    return (
        (agreement.max(axis=1) / largest).reshape(first.shape[:2]),
        (agreement.max(axis=0) / largest).reshape(second.shape[:2]),
    )


def _content(seen: Seen) -> Mapping[str, Any]:
    """What `dsf_jax.images.views` calls a group, of one example."""
    if seen.points is not None:
        length = padded_length(len(seen.points))
        if length > PADDED_LENGTHS[-1]:
            length = _power_of_two(length, PADDED_LENGTHS[-1])
        return {"points": pad_points([seen.points], length)}
    return {"photo": np.asarray(seen.photo)[None]}


def _power_of_two(count: int, least: int) -> int:
    """Returns `least` times the least power of two that makes it `count` or more."""
    return least << (-(-count // least) - 1).bit_length()


@functools.partial(jax.jit, static_argnames=("model", "layer"))
def _run(
    model: AlexNet, params: Params, images: jax.Array, layer: str
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """[b, h, w] or [b, h, w, 3] uint8 -> features, probabilities and maps, in one pass."""
    logits, activations = model.apply({"params": params}, preprocess(images, variant=model.variant))
    maps = activations[MAPS].astype(jnp.float32)
    return features_from(activations, layer), jax.nn.softmax(logits), maps
