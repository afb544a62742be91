"""Ranking, marks, the scale of distances and the map of agreement, against hand-worked cases."""

import numpy as np
import pytest
import scipy.stats

from dsf_jax.app.match_map import match_strengths
from dsf_jax.app.query import Query, query_from_strokes
from dsf_jax.app.relevance import DistanceSample, rocchio
from dsf_jax.app.searcher import Searcher, _batch, normalised_name
from dsf_jax.gallery.embedder import Embedder
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.images.points import pad_points
from dsf_jax.recognition.voting import single_angle, vote
from tests.app.made import BARS, BOX, CLASSES, CONFIG, LAYER, SQUARE


def ids(results):
    return [result.picture.id for result in results]


def test_nearest_first_by_the_plain_distance(searcher):
    query = searcher.embed(query_from_strokes(SQUARE, BOX))
    found = searcher.search(query, 99)
    assert len(found) == len(searcher.gallery) == 33
    vectors = searcher.gallery.vectors(ids(found)).astype(np.float64)
    wanted = np.linalg.norm(vectors - query.vector, axis=1)
    np.testing.assert_allclose([r.distance for r in found], wanted, rtol=1e-5)
    assert (np.diff(wanted) > -1e-6).all()
    assert ids(searcher.search(query, 5)) == ids(found)[:5]
    # The whole gallery is the sample; pictures of equal distance share a rank.
    further = [(wanted > (1 + 1e-5) * distance).sum() / 33 for distance in wanted]
    np.testing.assert_allclose([r.percentile for r in found], further, atol=1e-9)


def test_another_drawing_finds_others(searcher):
    answers = [
        ids(searcher.search(searcher.embed(query_from_strokes(s, BOX)), 33)) for s in (SQUARE, BARS)
    ]
    assert answers[0] != answers[1]


def test_a_filter_leaves_its_labels(searcher):
    query = searcher.embed(query_from_strokes(SQUARE, BOX))
    found = searcher.search(query, 99, labels=["bars", "circle"])
    assert sorted({result.picture.label for result in found}) == ["bars", "circle"]
    assert len(found) == 16


def test_a_picture_of_the_gallery_finds_its_likes_but_not_itself(searcher):
    one = searcher.search(searcher.embed(query_from_strokes(BARS, BOX)), 1)[0].picture
    query = searcher.embed_stored(one.id)
    found = searcher.search(query, 32)
    assert one.id not in ids(found) and len(found) == 32
    assert query.probabilities is None


def test_marks_move_the_query_as_rocchio_says(searcher):
    query = searcher.embed(query_from_strokes(SQUARE, BOX))
    before = searcher.search(query, 33)
    right, wrong = before[20].picture.id, before[0].picture.id
    after = searcher.search(query, 33, liked=[right], disliked=[wrong])
    assert wrong not in ids(after) and len(after) == 32
    assert ids(after).index(right) < 19
    q, r, w = (
        x.astype(np.float64) for x in (query.vector, *searcher.gallery.vectors([right, wrong]))
    )
    moved = q + 0.75 * r - 0.15 * w
    moved *= np.linalg.norm(q) / np.linalg.norm(moved)
    wanted = np.linalg.norm(searcher.gallery.vectors(ids(after)) - moved, axis=1)
    np.testing.assert_allclose([result.distance for result in after], wanted, rtol=1e-4)


def test_rocchio_by_hand():
    q = np.array([3.0, 4.0], np.float32)
    none = np.zeros((0, 2), np.float32)
    np.testing.assert_array_equal(rocchio(q, none, none), q)
    liked, disliked = np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 10.0]])
    # (3, 4) + .75 (2, 0) - .15 (0, 10) = (4.5, 2.5), of length 5.148, brought to 5
    np.testing.assert_allclose(rocchio(q, liked, disliked), [4.3711, 2.4284], rtol=1e-4)
    np.testing.assert_array_equal(rocchio(q * 0, none, none), [0, 0])


def test_few_shapes_are_compiled(searcher, monkeypatch):
    asked = []
    nearest = searcher.gallery.nearest

    def spy(vectors, k, **options):
        asked.append(k)
        return nearest(vectors, k, **options)

    monkeypatch.setattr(searcher.gallery, "nearest", spy)
    query = searcher.embed(query_from_strokes(SQUARE, BOX))
    one = searcher.search(query, 1)[0].picture.id
    for count in (24, 32, 33, 200):
        searcher.search(query, count, disliked=[one])
    assert asked == [32, 32, 64, 64, 256]
    crowd = Query(points=np.zeros((20_000, 2), np.uint16))
    lengths = [
        _batch(shown)["points"].shape[1] for shown in (query_from_strokes(SQUARE, BOX), crowd)
    ]
    assert lengths == [4096, 32_768]


def test_an_unknown_picture_is_an_error(searcher):
    query = searcher.embed(query_from_strokes(SQUARE, BOX))
    for call in (
        lambda: searcher.embed_stored("f00"),
        lambda: searcher.search(query, 3, liked=["f00"]),
        lambda: searcher.explain("f00", "f00"),
    ):
        with pytest.raises(ValueError, match="f00"):
            call()


def test_steps_are_deviations_from_the_mean():
    distances = np.sort(np.random.default_rng(0).normal(10, 1, 1000))
    sample = DistanceSample(distances)
    z = scipy.stats.zscore(distances)
    for place in (0, 1, 5, 50, 500, 999):
        ahead = -z[place]
        wanted = 1 + (ahead >= 2) + (ahead >= 3) + (ahead >= 4) + (ahead >= 5)
        assert sample.steps(distances[place]) == wanted
        assert sample.percentile(distances[place]) == pytest.approx(1 - (place + 1) / 1000)
    assert sample.steps(4.0) == 5 and sample.steps(99.0) == 1
    assert sample.percentile(4.0) == pytest.approx(0.999)  # of a sample of 1000, no more is known
    assert sample.percentile(99.0) == 0
    assert DistanceSample(np.ones(3)).steps(1.0) == 1  # all alike


def test_guesses_are_the_vote_and_single_view(searcher, model):
    shown = query_from_strokes(BARS, BOX)
    content = {"points": pad_points([shown.points])}
    for guesses, function in (
        (searcher.vote(shown), vote),
        (searcher.top_classes(searcher.embed(shown).probabilities), single_angle),
    ):
        wanted = np.asarray(function(model, content))[0]
        assert [CLASSES.index(g.name) for g in guesses] == list(np.argsort(-wanted))
        np.testing.assert_allclose(
            [g.probability for g in guesses], np.sort(wanted)[::-1], rtol=1e-5
        )
    labels = {guess.name: (guess.label, guess.pictures) for guess in guesses}
    assert labels == {
        "circle": ("circle", 8), "square": ("square", 8), "hollow_ring": ("hollow ring", 8),
        "bars": ("bars", 8), "nothing here": (None, 0),
    }  # fmt: skip


def test_names_of_classes_and_folders():
    assert (
        normalised_name("Alarm_Clock ")
        == normalised_name("alarm  clock")
        != normalised_name("clock")
    )


def test_agreement_by_hand():
    first, second, paper = (np.zeros((1, 3, 3), np.float32) for _ in range(3))
    first[0, 0], first[0, 1] = (2, 0, 0), (0, 3, 1)  # the last place answers nothing
    second[0, 0], second[0, 2] = (5, 0, 0), (0, 0, 4)
    # Inner products: 10 of the first places, 4 of the second's last and the first's middle, 0 else.
    strengths = match_strengths(first, second, paper)
    np.testing.assert_allclose(strengths[0], [[1, 0.4, 0]])
    np.testing.assert_allclose(strengths[1], [[1, 0, 0.4]])
    paper[0, 0] = (9, 0, 0)  # what paper answers there says nothing
    np.testing.assert_allclose(match_strengths(first, second, paper), [[[0, 1, 0]], [[0, 0, 1]]])
    assert not np.any(match_strengths(paper, second, paper))


def test_why_shows_what_the_network_sees(searcher):
    shown = query_from_strokes(BARS, BOX)
    one = searcher.search(searcher.embed(shown), 1)[0].picture
    query, result = searcher.explain(shown, one.id)
    assert query.view.shape == (224, 224) and result.view.shape == (224, 224, 3)
    assert query.strength.shape == result.strength.shape and query.strength.max() == 1.0
    same, itself = searcher.explain(one.id, one.id)
    np.testing.assert_array_equal(same.strength, itself.strength)


def test_a_network_that_takes_pixels_is_refused(searcher, model):
    with pytest.raises(ValueError, match=r"resizing=bilinear.*; choose one"):
        Searcher(model.replace(config=CONFIG._replace(resizing="bilinear")), searcher.gallery)


def test_an_empty_gallery_answers(searcher, model, tmp_path):

    width = searcher.gallery.config.features
    embedder = Embedder(
        "of the test", LAYER, lambda photos: np.zeros((len(photos), width), np.float32)
    )
    empty = Searcher(model, Gallery.create(tmp_path / "g", embedder))
    empty.warm_up()
    assert empty.search(empty.embed(query_from_strokes(SQUARE, BOX)), 5) == []
    photo = np.zeros((256, 256, 3), np.uint8)
    assert empty.vote(Query(photo=photo))[0].pictures == 0
