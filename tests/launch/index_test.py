"""launch.index and launch.search: from a folder of pictures to a ranking, twice; what is wrong is named."""

import shutil

import pytest
from PIL import Image

from dsf_jax.gallery.gallery import Gallery
from tests.launch.search_test import photos, ranking, sketch  # noqa: F401

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def given(run, photos, tmp_path_factory):  # noqa: F811
    """Flags, of a gallery that is not there yet."""
    folder = tmp_path_factory.mktemp("indexed")
    shutil.copytree(photos, folder / "photos")
    places = {"photos": folder / "photos", "gallery": folder / "gallery"}
    return places | {"checkpoint": run[1], "batch_size": 4}


@pytest.fixture(scope="module")
def indexed(launch, given):
    return launch("index", **given).succeeded()


def told(given, pictures, **counts):
    names = ("added", "changed", "deleted", "unchanged", "not readable")
    files = ", ".join(f"{name} {counts.get(name, 0)}" for name in names)
    return f"{given['gallery']}: {pictures} pictures; files {files}\n"


def test_a_folder_is_indexed_and_searched_as_it_would_be_without(launch, given, indexed, sketch):  # noqa: F811
    assert indexed == told(given, 4, added=4)
    flags = {"checkpoint": given["checkpoint"], "sketch": sketch, "top": 9}
    slow = ranking(launch("search", photos=given["photos"], **flags).succeeded())
    fast = ranking(launch("search", gallery=given["gallery"], **flags).succeeded())
    assert [path for _, _, path in fast] == [path for _, _, path in slow]
    assert [x for _, x, _ in fast] == pytest.approx([x for _, x, _ in slow], abs=2e-4)


def test_running_again_finds_what_has_changed_and_names_what_cannot_be_read(launch, given, indexed):
    Image.new("RGB", (50, 50), "white").save(given["photos"] / "new.png")
    (given["photos"] / "broken.png").touch()
    (given["photos"] / "red.png").unlink()
    result = launch("index", **given)
    assert result.status == 0
    counts = {"added": 1, "deleted": 1, "unchanged": 3, "not readable": 1}
    assert result.out == told(given, 4, **counts)
    (line,) = result.lines
    assert line == f"{given['photos']}/broken.png is not a picture; replace or remove it"


def test_reduced_vectors_and_filters(launch, given, photos, sketch, tmp_path):  # noqa: F811
    shutil.copytree(photos, tmp_path / "all" / "kept")
    places = {"photos": tmp_path / "all", "gallery": tmp_path / "small"}
    flags = given | places | {"dimensions": 3, "dtype": "float16"}
    first, second = launch("index", **flags).succeeded().splitlines()
    assert first.startswith("recall@10 of 3 dimensions, float16, against all 8192: ")
    assert second.endswith("unchanged 0, not readable 0")
    assert Gallery.open(tmp_path / "small").config[3:] == (8192, 3, "float16")
    flags = {"checkpoint": given["checkpoint"], "gallery": places["gallery"], "sketch": sketch}
    whole = ranking(launch("search", **flags).succeeded())
    assert whole == ranking(launch("search", "--folder=kept", **flags).succeeded())
    kept = ranking(launch("search", "--folder=kept", labels="kept", **flags).succeeded())
    assert len(whole) == 4 and [path for *_, path in kept] == [
        path for *_, path in whole if "/grün/" not in path
    ]
    launch("search", labels="lost", **flags).failed(
        "label='lost' is not in", "choose one of grün, kept"
    )
    launch("search", "--folder=lost", **flags).failed("folder='lost' holds no picture of")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"photos": "/nowhere"}, ("/nowhere is not a folder",)),
        ({"checkpoint": "/nowhere"}, ("/nowhere does not exist", "launch.train")),
        ({"layer": "L6"}, ("--layer=L6 differs from the L6+L7 that",)),
        ({"dimensions": 5}, ("--dimensions=5 differs from the 0 that",)),
        ({"dtype": "float16"}, ("--dtype=float16 differs from the float32 that",)),
    ],
)
def test_what_is_wrong_is_named(changes, words, launch, given, indexed):
    launch("index", **(given | changes)).failed(*words)
    assert len(Gallery.open(given["gallery"])) == 4


def test_a_gallery_of_another_network(launch, given, indexed, port, sketch):  # noqa: F811
    flags = {"checkpoint": port[1], "gallery": given["gallery"], "sketch": sketch}
    launch("search", **flags).failed("features of the network", "name the checkpoint")


@pytest.mark.parametrize("both", [False, True])
def test_a_search_is_in_a_folder_or_a_gallery(both, launch, given, sketch):  # noqa: F811
    places = {name: given[name] for name in ("photos", "gallery")} if both else {}
    flags = {"checkpoint": given["checkpoint"], "sketch": sketch}
    launch("search", **flags, **places).failed("one of --photos and --gallery must be given")


@pytest.mark.parametrize("more", ["--labels=red", "--folder=red"])
def test_filters_are_for_a_gallery(more, launch, given, sketch):  # noqa: F811
    flags = {"checkpoint": given["checkpoint"], "sketch": sketch, "photos": given["photos"]}
    launch("search", more, **flags).failed("--labels and --folder are for a --gallery; name")


def test_a_search_in_what_is_no_gallery(launch, given, sketch, tmp_path):  # noqa: F811
    flags = {"checkpoint": given["checkpoint"], "sketch": sketch, "gallery": tmp_path / "none"}
    launch("search", **flags).failed(f"{tmp_path}/none holds no gallery", "launch.index")
