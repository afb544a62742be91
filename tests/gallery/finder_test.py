"""A gallery's answers: near-duplicates together, and as many results as were asked for."""

import numpy as np
import pytest
from PIL import Image

from dsf_jax.gallery.embedder import Embedder
from dsf_jax.gallery.finder import MIN_ASKED, MOST_ASKED, Finder
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.retrieval import near_duplicates

COPIES = 40  # of one picture: more than are asked for at first


def first_pixels(photos):
    """Stands for a network: features that copies share nearly, and the copied picture is nearest."""
    shrunk = np.array([near_duplicates.shrink(photo) for photo in photos], np.float32)
    features = shrunk.reshape(len(photos), -1)[:, :48] + 1
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def picture(seed, size=64):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
    return image.resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(10):
        picture(seed).save(folder / f"{seed}.png")
    (folder / "copies").mkdir()
    for number in range(COPIES):
        picture(0, 70 + 2 * number).save(folder / "copies" / f"{number}.jpg", quality=60 + number)
    made = Gallery.create(
        tmp_path_factory.mktemp("g") / "g", Embedder("pixels", "first", first_pixels, 16)
    )
    made.sync(folder)
    assert len(made) == 10 + COPIES
    return made


@pytest.fixture
def vector(gallery):
    return gallery.vectors([_id(gallery, "0.png")])[0]


def _id(gallery, name):
    (found,) = gallery.nearest(np.zeros((1, 48), np.float32), 99)
    return next(one.picture.id for one in found if one.picture.path.endswith(name))


def names(groups):
    return [[one.picture.path.rpartition("/")[2] for one in members] for members in groups]


def test_copies_do_not_take_the_places_of_others(gallery, vector):
    groups = Finder(gallery).nearest(vector, 5)
    assert len(groups) == 5 and len(groups[0]) == COPIES + 1
    assert all(len(members) == 1 for members in groups[1:])
    distances = [members[0].distance for members in groups]
    assert distances == sorted(distances)
    assert groups[0] == sorted(groups[0], key=lambda one: one.distance)
    whole = Finder(gallery).nearest(vector, 50)
    assert len(whole) == 10 and names(whole)[:5] == names(groups)


def test_separate_they_are_the_plain_ranking(gallery, vector):
    groups = Finder(gallery, duplicates="separate").nearest(vector, 20)
    assert [members[0] for members in groups] == gallery.nearest(vector[None], 20)[0]
    assert all(len(members) == 1 for members in groups)


def test_what_is_omitted_goes_with_its_copies(gallery, vector):
    groups = Finder(gallery).nearest(vector, 50, omitted=[_id(gallery, "0.png")])
    assert len(groups) == 9 and all(len(members) == 1 for members in groups)


def test_only_what_was_chosen_is_searched(gallery, vector):
    finder = Finder(gallery)
    for choice in ({"folder": "copies"}, {"labels": ["copies"]}):
        ((*members,),) = finder.nearest(vector, 5, **choice)
        assert len(members) == COPIES and {one.picture.label for one in members} == {"copies"}


def test_the_search_goes_on_only_so_far(gallery, vector, monkeypatch):
    asked = []
    crowd = gallery.nearest(vector[None], COPIES)[0]

    def nearest(vectors, k, **options):
        asked.append(k)
        return [(crowd * 999)[:k]]

    monkeypatch.setattr(gallery, "nearest", nearest)
    assert len(Finder(gallery).nearest(vector, 3)) == 1
    assert asked == [MIN_ASKED * times for times in (1, 2, MOST_ASKED)]
    assert len(Finder(gallery).nearest(vector, 24)) == 1
    assert asked[3:] == [128 * times for times in (1, 2, MOST_ASKED)]


def test_thumbnails_are_shrunk_once(gallery, vector, monkeypatch):
    finder, read = Finder(gallery), []
    thumbnails = gallery.thumbnails
    monkeypatch.setattr(gallery, "thumbnails", lambda ids: read.extend(ids) or thumbnails(ids))
    first = finder.nearest(vector, 5)
    assert finder.nearest(vector, 5) == first
    assert len(read) == len(set(read)) == len(gallery)


def test_the_standard_is_kept_until_the_gallery_changes(gallery, monkeypatch):
    finder = Finder(gallery)
    standard = finder.nearness()
    assert finder.nearness() is standard and standard.gallery_size == len(gallery)
    assert np.isfinite(standard.spread_bound) and len(standard.centred) == len(gallery)
    finder._nearness = standard._replace(gallery_size=40)
    assert finder.nearness().gallery_size == len(gallery)
    finder._made = "another that was made here"
    assert finder.nearness() is not standard


def test_no_picture_has_no_answer(gallery, vector):
    finder = Finder(gallery)
    empty = finder.nearest(
        vector, 5, omitted=[one.picture.id for one in gallery.nearest(vector[None], 99)[0]]
    )
    assert empty == [] and not finder.nothing_near(vector, empty)
