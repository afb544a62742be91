"""What a person drew or showed -> pictures of the gallery, what it may be, and why; knows no HTTP."""

import functools
import io
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.app.match_map import MatchMap, match_strengths
from dsf_jax.app.query import Query
from dsf_jax.app.relevance import rocchio
from dsf_jax.data.mixtures import EDGE_PRESERVING, square_photo
from dsf_jax.data.pictures import decode_picture
from dsf_jax.gallery.finder import Finder, power_of_two
from dsf_jax.gallery.gallery import Gallery, Neighbour
from dsf_jax.gallery.listing import Picture
from dsf_jax.images.points import DARKEST, PADDED_LENGTHS, pad_points, padded_length
from dsf_jax.images.views import PHOTO_SIZE, QueryViews, check_query_views
from dsf_jax.models.model import Model
from dsf_jax.models.words import Words
from dsf_jax.recognition.voting import vote
from dsf_jax.retrieval.features import blended, mean_feature
from dsf_jax.retrieval.near_duplicates import Duplicates
from dsf_jax.retrieval.nearness import DistanceSample, Nearness

NUM_GUESSES = 5
FIRST_RESULTS = 24  # that the page asks for, before more


class EmbeddedQuery(NamedTuple):
    """Where a search starts.

    Attributes:
      vector: [d] float32, in the gallery's space.
      probabilities: [k] by a single view; None for a picture of the gallery.
      id: id of the picture that the query is, which is no result; None for what was shown.
    """

    vector: np.ndarray
    probabilities: np.ndarray | None = None
    id: str | None = None


class SearchResult(NamedTuple):
    """A picture that was found.

    Attributes:
      picture: the gallery's entry.
      distance: Euclidean distance.
      percentile: fraction of the gallery that is further away, estimated from a sample.
      steps: 1 to 5, how far it stands out from the distances of this query; 1 where it does so less than
        the nearest picture of most of the gallery's own, and where nothing found is near.
      duplicates: its near-duplicates, nearest first.
    """

    picture: Picture
    distance: float
    percentile: float
    steps: int
    duplicates: tuple["SearchResult", ...] = ()


class ClassGuess(NamedTuple):
    """A class that a query may show.

    Attributes:
      name: name of the class.
      probability: probability in 0..1.
      label: the gallery's label of that name; None where it has none.
      pictures: number of pictures of that label.
    """

    name: str
    probability: float
    label: str | None
    pictures: int


def normalised_name(name: str) -> str:
    """Brings a class's and a folder's name to one form."""
    composed = unicodedata.normalize("NFC", name.replace("_", " ").casefold())
    return " ".join(composed.split())


class Searcher:
    """A network and a gallery that was made with it; its methods may be called from many threads."""

    def __init__(
        self,
        model: Model,
        gallery: Gallery,
        query_views: QueryViews = "one",
        words: Words | None = None,
        *,
        duplicates: Duplicates = "grouped",
        warns_far: bool = True,
    ) -> None:
        """Keeps them.

        Args:
          model: network with its parameters.
          gallery: open gallery, made with it.
          query_views: views of a drawing or photo that it is searched by, see `features.embed`; a picture
            of the gallery is searched by what the gallery has of it.
          words: what embeds words in the gallery's space; None searches by no words.
          duplicates: whether near-duplicates are one result or several.
          warns_far: whether answers warn that nothing is near.

        Raises:
          ValueError: for a network that does not take points, or an unknown choice of views.
        """
        check_query_views(query_views)
        if model.config.resizing != EDGE_PRESERVING:
            raise ValueError(
                f"the checkpoint takes drawings resized with resizing={model.config.resizing}, the page sends "
                f"points; choose one that was trained with resizing={EDGE_PRESERVING}"
            )
        self.model, self.gallery, self.layer = model, gallery, gallery.config.layer
        self.query_views, self.words, self.warns_far = query_views, words, warns_far
        self._finder = Finder(gallery, duplicates=duplicates)

    @property
    def expectation(self) -> str:
        """Returns what may be expected of the network, as a sentence for people."""
        told = self.model.card.sentence("the network behind this page")
        return f"{told[0].upper()}{told[1:]}."

    def warm_up(self) -> None:
        """Compiles, or reads from jax's cache, what drawings of usual length and photos need."""
        dot = np.array([[340, 340, DARKEST]], np.uint16)
        for length in PADDED_LENGTHS:
            batch = {"points": pad_points([dot], length)}
            self.model.plain_view(batch)
            self.model.all_views(batch)
            self.model.query_views(batch, self.query_views)
        query = self.embed(Query(points=dot))
        self.vote(Query(points=dot))
        self.embed(Query(photo=np.zeros((PHOTO_SIZE, PHOTO_SIZE, 3), np.uint8)))
        self.search(query, FIRST_RESULTS)
        if self.words:
            self.embed_words("a drawing")

    def embed(self, query: Query) -> EmbeddedQuery:
        """Computes features and single-angle class probabilities of what is shown."""
        features, probabilities, _ = self._run(query, self.query_views)
        return EmbeddedQuery(self.gallery.project(features)[0], probabilities[0])

    def embed_stored(self, id: str) -> EmbeddedQuery:
        """Takes a picture of the gallery as the query; ValueError for an unknown id."""
        self.gallery.get(id)
        return EmbeddedQuery(self.gallery.vectors([id])[0], id=id)

    def embed_words(self, text: str) -> EmbeddedQuery:
        """Computes features of words; ValueError where the network knows none, or for none."""
        if self.words is None:
            raise ValueError(
                "the network behind this page knows no words; draw, or serve a folder of SigLIP or CLIP"
            )
        return EmbeddedQuery(self.gallery.project(self.words.embed(text))[0])

    def with_words(self, query: EmbeddedQuery, text: str, share: float) -> EmbeddedQuery:
        """Joins a query and words, see `features.blended`; ValueError as `embed_words`."""
        said = self.embed_words(text).vector
        return query._replace(vector=blended(query.vector, said, share))

    def search(
        self,
        query: EmbeddedQuery,
        count: int,
        *,
        labels: Sequence[str] = (),
        liked: Sequence[str] = (),
        disliked: Sequence[str] = (),
    ) -> list[SearchResult]:
        """Finds the nearest pictures.

        Args:
          query: where to start.
          count: number of results, at most.
          labels: labels of the pictures that are searched; all where there are none.
          liked: ids of pictures that are right.
          disliked: ids of pictures that are wrong; they are omitted.

        Returns:
          Nearest first.

        Raises:
          ValueError: for an id that the gallery does not have.
        """
        vector = rocchio(query.vector, self._vectors(liked), self._vectors(disliked))
        omitted = {*disliked, *([query.id] if query.id else [])}
        groups = self._finder.nearest(vector, count, labels=tuple(labels), omitted=omitted)
        if not groups:
            return []
        far = self.warns_far and self._finder.nothing_near(vector, groups)
        nearness = self._finder.nearness()
        usual = nearness.distances(vector)
        return [_result(members, usual, nearness, far) for members in groups]

    def nothing_near(self, results: Sequence[SearchResult]) -> bool:
        """Returns whether an answer of `search` most likely has nothing to do with the query; never where
        that is not to be told.
        """
        return self.warns_far and bool(results) and results[0].steps == 1

    def vote(self, query: Query) -> list[ClassGuess]:
        """Guesses what a drawing or a photo shows, by the vote of its 18 views."""
        probabilities = vote(self.model, _batch(query))
        return self.top_classes(np.asarray(probabilities)[0])

    def top_classes(self, probabilities: np.ndarray) -> list[ClassGuess]:
        """Returns the likeliest classes: those that the gallery has pictures of, then the others.

        Args:
          probabilities: [k].

        Returns:
          The likeliest of the gallery's classes, then those of the likeliest of all that it does not have;
          none where the layer of classes has random values still.
        """
        if self.model.backbone.classifier in self.model.config.fresh_layers:
            return []
        labels = self.gallery.labels()
        by_name = {normalised_name(label): label for label in labels}
        order = np.argsort(-probabilities, kind="stable")
        matched = [by_name.get(normalised_name(name)) for name in self.model.class_names]
        chosen = [number for number in order if matched[number] is not None][:NUM_GUESSES]
        chosen += [number for number in order[:NUM_GUESSES] if matched[number] is None]
        guesses = []
        for number in chosen:
            label = matched[number]
            pictures = 0 if label is None else labels[label]
            name, probability = self.model.class_names[number], float(probabilities[number])
            guesses.append(ClassGuess(name, probability, label, pictures))
        return guesses

    def explain(self, query: Query | str, id: str) -> tuple[MatchMap, MatchMap]:
        """Shows where the backbone's explained maps find the same in query and result: for each place,
        how well the best place of the other picture fits it.

        Args:
          query: what was shown, or the id of a picture of the gallery.
          id: id of the result.

        Returns:
          The query's side and the result's.

        Raises:
          ValueError: for an unknown id.
        """
        sides = [self._thumbnail(query) if isinstance(query, str) else query]
        sides.append(self._thumbnail(id))
        maps = [np.asarray(self._run(side)[2][0], np.float32) for side in sides]
        views = [np.asarray(self.model.plain_view(_batch(side)))[0] for side in sides]
        first, second = match_strengths(maps[0], maps[1], self._paper)
        return MatchMap(views[0], first), MatchMap(views[1], second)

    @functools.cached_property
    def _paper(self) -> np.ndarray:
        """Activations of white paper, [h, w, c]: mostly of its border."""
        white = np.full((PHOTO_SIZE, PHOTO_SIZE, 3), 255, np.uint8)
        return np.asarray(self._run(Query(photo=white))[2][0])

    def _thumbnail(self, id: str) -> Query:
        """Shows a picture's thumbnail in its place: the file may have gone meanwhile."""
        self.gallery.get(id)
        data = self.gallery.thumbnail(id)
        picture = decode_picture(io.BytesIO(data), f"the thumbnail of {id}")
        return Query(photo=square_photo(picture))

    def _run(
        self, query: Query, views: QueryViews = "one"
    ) -> tuple[np.ndarray, np.ndarray, jax.Array]:
        """Shows views of a query to the network; probabilities and maps begin with the plain one's."""
        (images,) = self.model.query_views(_batch(query), views)
        features, probabilities, maps = _run(self.model, images, self.layer)
        return np.asarray(features), np.asarray(probabilities), maps

    def _vectors(self, ids: Sequence[str]) -> np.ndarray:
        for id in ids:
            self.gallery.get(id)
        if not ids:
            return np.zeros((0, 1), np.float32)
        return self.gallery.vectors(list(ids))


def _result(
    members: Sequence[Neighbour], usual: DistanceSample, nearness: Nearness, far: bool
) -> SearchResult:
    """Makes a result of a picture and its near-duplicates."""
    first, *others = (
        SearchResult(
            picture,
            distance,
            usual.percentile(distance),
            1 if far else nearness.steps(usual.deviations(distance)),
        )
        for picture, distance in members
    )
    return first._replace(duplicates=tuple(others))


def _batch(query: Query) -> Mapping[str, Any]:
    """Makes a batch of one example."""
    if query.points is not None:
        length = padded_length(len(query.points))
        if length > PADDED_LENGTHS[-1]:
            length = power_of_two(length, PADDED_LENGTHS[-1])
        return {"points": pad_points([query.points], length)}
    return {"photo": np.asarray(query.photo)[None]}


@functools.partial(jax.jit, static_argnames=("layer",))
def _run(model: Model, images: jax.Array, layer: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes the feature [1, d] of one example, probabilities and maps of its views [v, h, w] or
    [v, h, w, 3] uint8, in one pass.
    """
    logits, activations = model(images)
    maps = activations[model.backbone.explained].astype(jnp.float32)
    features = model.features(activations, layer)
    if len(images) > 1:
        features = mean_feature(features, axis=0)[None]
    return features, jax.nn.softmax(logits), maps
