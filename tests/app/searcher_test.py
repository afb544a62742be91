"""Ranking, marks, the scale of distances and the map of agreement, against hand-worked cases."""

import numpy as np
import pytest

from dsf_jax.app.query import Query, query_from_strokes
from dsf_jax.app.searcher import Searcher, _batch, _run, normalised_name
from dsf_jax.gallery.embedder import Embedder
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.images.points import pad_points
from dsf_jax.recognition.voting import single_angle, vote
from tests.app.made import BARS, BOX, CLASSES, CONFIG, LAYER, SQUARE

pytestmark = pytest.mark.slow  # its networks are compiled anew


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


def test_words_join_what_is_shown_as_a_weighted_mean(speaking):
    shown = speaking.embed(query_from_strokes(SQUARE, BOX))
    one = ids(speaking.search(shown, 9))[5]
    said = speaking.embed_words(one)
    assert said.probabilities is None
    joined = speaking.with_words(shown, one, 0.25)
    np.testing.assert_allclose(joined.vector, 0.75 * shown.vector + 0.25 * said.vector, rtol=1e-6)
    assert joined.probabilities is shown.probabilities
    with pytest.raises(ValueError, match=r"the share of the words is 1\.5, expected 0 to 1"):
        speaking.with_words(shown, one, 1.5)


def test_a_network_without_words_says_so(searcher):
    with pytest.raises(ValueError, match="knows no words; draw, or serve a folder of SigLIP"):
        searcher.embed_words("cat")


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
    crowd = Query(points=np.zeros((20_000, 3), np.uint16))
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


def test_guesses_are_the_vote_and_single_view(searcher, model):
    shown = query_from_strokes(BARS, BOX)
    content = {"points": pad_points([shown.points])}
    for guesses, function in (
        (searcher.vote(shown), vote),
        (searcher.top_classes(searcher.embed(shown).probabilities), single_angle),
    ):
        wanted = np.asarray(function(model, content))[0]
        found, absent = np.argsort(-wanted[:4]), 4  # the gallery has pictures of the first four
        order = [*found, absent]
        assert [CLASSES.index(g.name) for g in guesses] == order
        np.testing.assert_allclose([g.probability for g in guesses], wanted[order], rtol=1e-5)
    labels = {guess.name: (guess.label, guess.pictures) for guess in guesses}
    assert labels == {
        "circle": ("circle", 8), "square": ("square", 8), "hollow_ring": ("hollow ring", 8),
        "bars": ("bars", 8), "nothing here": (None, 0),
    }  # fmt: skip


def test_classes_that_cannot_be_found_come_last_and_do_not_displace_others(searcher, monkeypatch):
    names = tuple(f"nothing {i}" for i in range(9)) + CLASSES
    monkeypatch.setattr(
        searcher, "model", searcher.model.replace(config=CONFIG._replace(class_names=names))
    )
    falling = np.linspace(1, 0, len(names))
    guesses = searcher.top_classes(falling / falling.sum())
    assert [g.name for g in guesses if g.pictures] == ["circle", "square", "hollow_ring", "bars"]
    assert [g.name for g in guesses[4:]] == [f"nothing {i}" for i in range(5)]
    assert [g.label for g in guesses[4:]] == [None] * 5


def test_steps_are_calibrated_on_the_gallery(searcher):
    one = searcher.search(searcher.embed(query_from_strokes(BARS, BOX)), 1)[0].picture
    vectors = searcher.gallery.vectors(
        [p.picture.id for p in searcher.search(searcher.embed_stored(one.id), 99)] + [one.id]
    )
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
    nearest = np.sort(apart, axis=1)[:, 1]
    ahead = (apart.mean(axis=1) - nearest) / apart.std(axis=1)
    standard = searcher._finder.nearness()
    np.testing.assert_allclose(
        standard.bounds, np.quantile(ahead, (0.25, 0.5, 0.75, 0.95)), rtol=1e-3
    )
    drawn = searcher.embed(query_from_strokes(SQUARE, BOX))
    distances = np.linalg.norm(vectors - drawn.vector, axis=1)
    unwarned = Searcher(searcher.model, searcher.gallery, duplicates="separate", warns_far=False)
    for result in unwarned.search(drawn, 33):
        stands_out = (distances.mean() - result.distance) / distances.std()
        assert result.steps == 1 + (stands_out >= np.array(standard.bounds)).sum()
    twin = searcher.embed_stored(one.id)._replace(id=None)  # a picture itself
    assert searcher.search(twin, 33)[0].steps == 5


def test_where_nothing_is_near_all_results_have_one_step(searcher, monkeypatch):
    query = searcher.embed(query_from_strokes(BARS, BOX))
    unwarned = Searcher(searcher.model, searcher.gallery, duplicates="separate", warns_far=False)
    for one, warned in ((searcher, True), (unwarned, False)):
        far = one._finder.nearness()._replace(bounds=(-9.0, -9.0, 99.0, 99.0), spread_bound=0.0)
        near = far._replace(spread_bound=9.0)
        for standard, told in ((far, warned), (near, False)):
            monkeypatch.setattr(one._finder, "_nearness", standard)
            found = one.search(query, 9)
            assert {result.steps for result in found} == ({1} if told else {3})
            assert one.nothing_near(found) == told
    assert not searcher.nothing_near([])


def test_near_duplicates_are_one_result(searcher):
    grouped = Searcher(searcher.model, searcher.gallery)
    query = searcher.embed(query_from_strokes(BARS, BOX))
    found, alone = grouped.search(query, 33), searcher.search(query, 33)
    members = [(result, *result.duplicates) for result in found]
    assert sorted(ids(sum(members, ()))) == sorted(ids(alone)) and len(found) < 33
    assert all(result.duplicates == () for result in alone)
    by_id = {result.picture.id: result for result in alone}
    for first, *others in members:
        assert first.distance <= min([one.distance for one in others], default=9)
        for one in (first._replace(duplicates=()), *others):
            assert one.distance == by_id[one.picture.id].distance
    wrong = next(result for result in found if result.duplicates)
    left = grouped.search(query, 33, disliked=[wrong.picture.id])
    gone = {wrong.picture.id, *ids(wrong.duplicates)}
    assert not gone & {one.picture.id for result in left for one in (result, *result.duplicates)}


def test_names_of_classes_and_folders():
    assert normalised_name("Caf\u00e9") == normalised_name("Cafe\u0301")
    assert (
        normalised_name("Alarm_Clock ")
        == normalised_name("alarm  clock")
        != normalised_name("clock")
    )


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


@pytest.mark.slow
def test_a_query_by_several_views_is_searched_by_their_mean(searcher, model):
    shown = query_from_strokes([[[20, 20], [80, 80]], [[20, 80], [35, 80]]], BOX)
    photo = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    drawn, patches = {"points": pad_points([shown.points])}, {"photo": photo[None]}
    (plain,) = np.asarray(model.plain_view(drawn))
    for query, choice, views in (
        (shown, "mirrored", np.stack([plain, np.flip(plain, axis=1)])),
        (Query(photo=photo), "all", np.asarray(model.all_views(patches))[0]),
    ):
        found, alone = Searcher(model, searcher.gallery, choice).embed(query), searcher.embed(query)
        mean = np.asarray(model.features(model(views)[1], LAYER)).mean(axis=0)
        wanted = searcher.gallery.project(mean[None] / np.linalg.norm(mean))[0]
        np.testing.assert_allclose(found.vector, wanted, atol=1e-6)
        assert np.abs(found.vector - alone.vector).max() > 1e-4
        np.testing.assert_allclose(found.probabilities, alone.probabilities, atol=1e-6)


def test_an_unknown_choice_of_views_is_refused(searcher, model):
    with pytest.raises(ValueError, match="views='two' is unknown; choose one of one, mirrored"):
        Searcher(model, searcher.gallery, "two")


def test_one_view_is_the_default_to_the_bit(searcher, model):
    shown = query_from_strokes(BARS, BOX)
    images = model.plain_view({"points": pad_points([shown.points])})
    features, probabilities, _ = _run(model, images, LAYER)
    found = searcher.embed(shown)
    np.testing.assert_array_equal(found.vector, searcher.gallery.project(np.asarray(features))[0])
    np.testing.assert_array_equal(found.probabilities, probabilities[0])


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
