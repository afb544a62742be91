"""Mixtures of three small prepared data sets that number and hold their classes differently."""

from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dsf_jax.data.mixtures import (
    MIXTURES,
    Count,
    domains_of,
    mix,
    small_drawing,
    square_photo,
    training_fields,
)
from dsf_jax.images.points import CANVAS, points_from_image
from tests.data.zoo import ZOO


def which(example: dict[str, Any]) -> int:
    """The record's number within its domain."""
    if "points" in example:
        assert len(example["points"]) == example["points"][0, 0] + 1
        return int(example["points"][0, 0])
    return int(example["photo"][9, 9, 0])


def shown(examples: Any, class_names: tuple[str, ...]) -> list[tuple[int, str]]:
    return [(which(example), class_names[example["label"]]) for example in examples]


def of(domain: str, wanted: set[str]) -> list[tuple[int, str]]:
    return [(i, name) for i, name in enumerate(ZOO[domain][1]) if name in wanted]


def test_classes_are_joined_by_name_and_are_those_that_sketches_show(zoo: Any) -> None:
    mixture = mix(zoo("sketch", "photo", "edge"))
    assert mixture.class_names == ("cat", "dog", "Äffchen 🐒")  # sorted; no elk, no yak
    wanted = set(mixture.class_names)
    assert sorted(shown(mixture.drawings, mixture.class_names)) == sorted(
        of("sketch", wanted) + of("edge", wanted)
    )
    assert sorted(shown(mixture.photos, mixture.class_names)) == sorted(of("photo", wanted))
    digests = [records.digest for records in zoo("sketch", "photo", "edge")]
    assert mixture.counts == (
        Count("zoo/sketch [train]", "sketch", (2, 2, 1), (), digests[0]),
        Count("zoo/photo [train]", "photo", (3, 2, 0), (("yak", 2),), digests[1]),
        Count("zoo/edge [train]", "edge", (1, 0, 1), (("yak", 1),), digests[2]),
    )
    assert len({*digests}) == 3


def test_labels_beside_the_examples_are_theirs(zoo: Any) -> None:
    mixture = mix(zoo("sketch", "photo", "edge"))
    for examples in (mixture.drawings, mixture.photos):
        assert examples.labels.dtype == np.int32
        assert examples.labels.tolist() == [examples[i]["label"] for i in range(len(examples))]


def test_examples_hold_points_or_square_photos(zoo: Any) -> None:
    mixture = mix(zoo("sketch", "photo"))
    drawing, photo = mixture.drawings[0], mixture.photos[0]
    assert set(drawing) == {"points", "label"} and drawing["points"].dtype == np.uint16
    assert set(photo) == {"photo", "label"} and type(photo["label"]) is int
    assert photo["photo"].shape == (256, 256, 3) and photo["photo"].dtype == np.uint8


def test_without_sketches_all_classes_that_are_shown_count(zoo: Any) -> None:
    mixture = mix(zoo("photo", "edge"))
    assert mixture.class_names == ("cat", "dog", "yak", "Äffchen 🐒")
    assert [count.left_out for count in mixture.counts] == [(), ()]


def test_given_classes_keep_their_order_and_unshown_ones_their_number(zoo: Any) -> None:
    names = ("yak", "elk", "cat")
    mixture = mix(zoo("sketch", "photo"), names)
    assert mixture.class_names == names
    assert sorted(shown(mixture.drawings, names)) == sorted(of("sketch", set(names)))
    assert sorted(shown(mixture.photos, names)) == sorted(of("photo", set(names)))
    assert [(c.per_class, c.left_out) for c in mixture.counts] == [
        ((0, 0, 2), (("dog", 2), ("Äffchen 🐒", 1))),
        ((2, 0, 3), (("dog", 2),)),
    ]


def test_classes_are_omitted_on_request_whether_listed_or_shown(zoo: Any) -> None:
    for listed in (None, ["yak", "dog", "cat", "Äffchen 🐒"]):
        mixture = mix(zoo("sketch", "photo"), listed, without={"dog", "yak"})
        assert set(mixture.class_names) == {"cat", "Äffchen 🐒"}
        assert sorted(shown(mixture.photos, mixture.class_names)) == of("photo", {"cat"})
        assert ("dog", 2) in mixture.counts[0].left_out


def test_examples_are_chosen_and_tell_other_fields(zoo: Any) -> None:
    """Also of two sources at once, one of which loses all."""
    photos = mix([*zoo("photo"), *zoo("photo")], ["cat", "yak"]).photos
    kept = np.arange(len(photos)) >= len(photos) // 2 + 1  # the second source's, but its first
    some = photos.where(kept)
    assert [which(one) for one in some] == [which(one) for one in photos][len(photos) - len(some) :]
    assert some.labels.tolist() == photos.labels[kept].tolist()
    names = ["cat" if label == 0 else "yak" for label in some.labels]
    assert some.values("class_name") == [("zoo/photo", name) for name in names]
    assert len(photos) == 2 * (len(some) + 1)  # as it was
    with pytest.raises(ValueError, match="no field 'strokes'; its fields are"):
        some.values("strokes")


def test_a_split_shows_its_own_classes(zoo: Any) -> None:
    parts = [mix(zoo("sketch", split=split)) for split in ("train[:2]", "train[2:]")]
    both = [which(example) for part in parts for example in part.drawings]
    assert sorted(both) == list(range(5))
    for part in parts:
        assert set(part.class_names) == {ZOO["sketch"][1][which(e)] for e in part.drawings}


@pytest.mark.parametrize("domains", [("sketch",), ("sketch", "edge"), ("photo",)])
def test_a_mixture_may_lack_photos_or_drawings(zoo: Any, domains: tuple[str, ...]) -> None:
    mixture = mix(zoo(*domains))
    drawn = sum(sum(count.per_class) for count in mixture.counts if count.domain != "photo")
    assert len(mixture.drawings) == drawn == len(mixture.drawings.labels)
    assert len(mixture.photos) == sum(sum(count.per_class) for count in mixture.counts) - drawn


def test_a_mixture_prints_what_it_took_and_left(zoo: Any) -> None:
    lines = str(mix(zoo("sketch", "photo"))).split("\n")
    assert [line.strip() for line in lines] == [
        "3 classes",
        "sketch: 5 from zoo/sketch [train], 1 to 2 a class",
        "photo: 5 from zoo/photo [train], 2 to 3 a class, none of 1 classes; "
        "left out 2 of 1 classes not trained on: yak (2)",
    ]


def test_every_class_is_counted_in_every_domain(zoo: Any) -> None:
    assert mix(zoo("sketch", "photo", "edge")).per_class().split("\n") == [
        "cat: 2 sketch, 3 photo, 1 edge",
        "dog: 2 sketch, 2 photo, 0 edge",
        "Äffchen 🐒: 1 sketch, 0 photo, 1 edge",
    ]


def test_a_map_of_synonyms_joins_classes_of_different_names(zoo: Any) -> None:
    class_map = {"monkey": {"zoo": ["Äffchen 🐒", "yak"], "other set": ["cat"]}}
    mixture = mix(zoo("sketch", "photo", "edge"), class_map=class_map)
    assert mixture.class_names == ("cat", "dog", "monkey")
    assert [count.per_class for count in mixture.counts] == [(2, 2, 1), (3, 2, 2), (1, 0, 2)]
    assert all(count.left_out == () for count in mixture.counts)


def test_a_class_listed_twice_is_an_error(zoo: Any) -> None:
    with pytest.raises(ValueError, match="class 'cat' is listed twice"):
        mix(zoo("sketch"), ("cat", "dog", "cat"))


def test_nothing_left_is_an_error(zoo: Any) -> None:
    pattern = (
        r"none of the examples in zoo/sketch \[train\], zoo/photo \[train\] is of the 2 classes"
    )
    with pytest.raises(ValueError, match=pattern) as caught:
        mix(zoo("sketch", "photo"), ("elk", "emu"))
    assert "\n" not in str(caught.value)


def test_images_of_drawings_are_never_decoded(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("an image was decoded")

    records = zoo("sketch", "edge", "photo")
    monkeypatch.setattr(tfds.features.Image, "decode_example_np", decode)
    mixture = mix(records)
    assert len([mixture.drawings[i] for i in range(len(mixture.drawings))]) == 7
    with pytest.raises(AssertionError, match="decoded"):
        mixture.photos[0]


@pytest.mark.parametrize("resizing", ["bilinear", "cubic"])
def test_interpolated_drawings_are_pixels_of_the_networks_size(zoo: Any, resizing: Any) -> None:
    """Record i is a rectangle (30 + i) x 40 of brightness i, in the middle of white paper."""
    mixture = mix(zoo("sketch", "photo", "edge"), resizing=resizing, size=20)
    assert len(mixture.drawings) == 7 and len(mixture.photos) == 5
    assert mixture.counts == mix(zoo("sketch", "photo", "edge")).counts
    for domain, row in (("sketch", 0), ("sketch", 4), ("edge", 1)):
        label = mixture.class_names.index(ZOO[domain][1][row])
        (found,) = (
            e
            for e in (mixture.drawings[i] for i in range(7))
            if e["label"] == label and int(e["drawing"][10, 10]) == row
        )
        assert set(found) == {"drawing", "label"}
        assert found["drawing"].shape == (20, 20) and found["drawing"].dtype == np.uint8
        assert (found["drawing"][:, 10] <= row + 1).all()  # as high as the paper
        assert (found["drawing"][:, [0, -1]] > 200).all()  # paper left and right
    assert set(mixture.photos[0]) == {"photo", "label"}


def test_points_of_interpolated_drawings_are_never_read(
    zoo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = tfds.features.Tensor.decode_example_np

    def no_points(feature: Any, data: Any) -> Any:
        assert not feature.shape, "points were decoded"  # labels are tensors too, of no rank
        return decode(feature, data)

    mixture, with_points = mix(zoo("sketch"), resizing="cubic", size=20), mix(zoo("sketch"))
    monkeypatch.setattr(tfds.features.Tensor, "decode_example_np", no_points)
    with pytest.raises(AssertionError, match="points were decoded"):
        with_points.drawings[0]
    assert mixture.drawings[0]["drawing"].shape == (20, 20)


def test_fields_follow_from_the_resizing() -> None:
    assert training_fields("sketch") == training_fields("edge") == ("points", "label")
    for resizing in ("bilinear", "cubic"):
        assert training_fields("edge", resizing) == ("image", "label")
    assert training_fields("photo") == training_fields("photo", "cubic") == ("image", "label")


def test_an_unknown_resizing_is_an_error(zoo: Any) -> None:
    with pytest.raises(ValueError, match="resizing='nearest' is unknown; choose one of edge_pres"):
        mix(zoo("sketch"), resizing="nearest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'edge_preserving' does not interpolate; choose one of b"):
        small_drawing(np.zeros((9, 9), np.uint8), resizing="edge_preserving")


def triangle_weights(length: int, size: int) -> np.ndarray:
    """[size, length] rows of an anti-aliased linear shrinking: a triangle twice a result pixel
    wide."""
    scale = length / size
    centre = (np.arange(size)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(length) + 0.5 - centre) / scale
    weights = np.maximum(0.0, 1.0 - distance)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shape", [(100, 100), (100, 100, 1), (100, 100, 3)])
def test_bilinear_drawings_equal_numpy(shape: tuple[int, ...]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (100, 100)).astype(np.uint8)
    image = np.broadcast_to(grey.reshape(100, 100, *(1 for _ in shape[2:])), shape)
    weights = triangle_weights(100, 30)
    small = small_drawing(np.ascontiguousarray(image), resizing="bilinear", size=30)
    np.testing.assert_allclose(small, weights @ grey @ weights.T, atol=1.5)


def test_cubic_drawings_are_sharper_and_thin_strokes_fade_in_both() -> None:
    stroke = np.full((1111, 1111), 255, np.uint8)
    stroke[:, 555:558] = 0
    bilinear, cubic = (
        small_drawing(stroke, resizing=resizing, size=227) for resizing in ("bilinear", "cubic")
    )
    assert 60 < cubic.min() < bilinear.min() < 180  # 3 of about 5 pixels are ink


@pytest.mark.parametrize("shape", [(50, 100), (100, 50)])
def test_a_drawing_lies_centred_on_a_square_of_paper_as_its_points_do(
    shape: tuple[int, int],
) -> None:
    image = np.full(shape, 255, np.uint8)
    image[10:15, 20:25] = 0
    small = small_drawing(image, resizing="bilinear", size=100)
    ink = np.argwhere(small < 128) / 100
    points = points_from_image(image, thinned=False)[:, 1::-1] / CANVAS
    np.testing.assert_allclose(ink.mean(axis=0), points.mean(axis=0), atol=0.01)


def test_names_of_mixtures_are_the_papers() -> None:
    assert {name: domains_of(name) for name in MIXTURES} == {
        "S": ("sketch",),
        "S+I": ("sketch", "photo"),
        "S+E": ("sketch", "edge"),
        "S+I+E": ("sketch", "photo", "edge"),
    }
    with pytest.raises(
        ValueError, match=r"'I\+S' is unknown; choose one of S, S\+I, S\+E, S\+I\+E"
    ):
        domains_of("I+S")


def test_photos_become_square_whatever_their_shape() -> None:
    """A vertical border stays at its share of the width."""
    photo = np.zeros((100, 500, 3), np.uint8)
    photo[:, 250:] = (200, 100, 50)
    square = square_photo(photo)
    assert square.shape == (256, 256, 3) and square.dtype == np.uint8
    assert (square[:, :126] == 0).all()
    assert (square[:, 130:] == (200, 100, 50)).all()
    same = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    assert square_photo(same) is same


def test_shrinking_a_photo_averages() -> None:
    fine = np.zeros((1024, 1024, 3), np.uint8)
    fine[:, ::2] = 255  # aliasing would give black, white or stripes
    np.testing.assert_allclose(square_photo(fine), 127.5, atol=12)


def test_names_meet_whichever_way_their_accents_are_written(zoo: Any) -> None:
    """Class lists and class maps of macOS write an accent as a character of its own."""
    composed, decomposed = "\u00c4ffchen \U0001f412", "A\u0308ffchen \U0001f412"
    mixture = mix(zoo("sketch"), [decomposed, "cat"])
    assert mixture.class_names == (decomposed, "cat")  # a model keeps the names that it has
    assert mixture.counts[0].per_class == (1, 2)
    mapped = mix(zoo("sketch"), class_map={decomposed: {"zoo": ["cat"]}})
    assert mapped.class_names == ("dog", composed)
    assert mix(zoo("sketch"), class_map={"ape": {"zoo": [decomposed]}}).class_names[0] == "ape"
    with pytest.raises(ValueError, match="listed twice"):
        mix(zoo("sketch"), [composed, decomposed])
