"""launch.index and launch.search: from a folder of pictures to a ranking, twice; what is wrong is named."""

import os
import shutil
import signal

import pytest
from PIL import Image

from dsf_jax.gallery.gallery import Gallery
from dsf_jax.models.model import ModelConfig, init_model
from dsf_jax.training.checkpoints import save_model
from tests.backbones import TWO_LAYERS
from tests.launch.scripts import wait_for
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
    """What is printed where the only other file is notes.txt."""
    names = ("added", "changed", "deleted", "unchanged", "not readable")
    files = ", ".join(f"{name} {counts.get(name, 0)}" for name in names)
    return (
        f"{given['gallery']}: {pictures} pictures; files {files}, passed over 1\n"
        "passed over: 1 .txt (notes.txt)\n"
    )


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
    flags = given | places | {"layer": "L6", "dimensions": 3, "dtype": "float16"}
    first, second, _ = launch("index", **flags).succeeded().splitlines()
    assert first.startswith("recall@10 of 3 dimensions, float16, against all 32: ")
    assert second.endswith("unchanged 0, not readable 0, passed over 1")
    assert Gallery.open(tmp_path / "small").config[3:6] == (32, 3, "float16")
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
        ({"photos": "~nobody at all/x"}, ("~nobody at all/x is not a folder",)),
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


def test_a_gallery_of_a_network_without_the_feature(launch, given, indexed, sketch, tmp_path):  # noqa: F811
    """It is said to be of another network, not that a feature is unknown which nobody has named."""
    config = ModelConfig(TWO_LAYERS.name, ("one", "two"), TWO_LAYERS.size, ())
    save_model(tmp_path / "other", init_model(config, seed=0))
    flags = {"checkpoint": tmp_path / "other", "gallery": given["gallery"]}
    words = (f"of the network {given['checkpoint']}, not", f"of {tmp_path}/other; name the checkp")
    launch("search", sketch=sketch, **flags).failed(*words)
    launch("index", photos=given["photos"], **flags).failed(*words)
    launch("serve", port=0, **flags).failed(*words)


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


@pytest.fixture
def small(given, tmp_path):
    """Flags of a gallery that is not there yet, of three pictures."""
    for name, colour in (("red", "red"), ("sub/green", "green"), ("sub/blue", "blue")):
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), colour).save(path)
    return given | {"photos": tmp_path / "pictures", "gallery": tmp_path / "g"}


def test_what_is_passed_over_is_counted_by_kind_and_pictures_are_named(launch, small):
    for name in ("IMG_1.HEIC", "IMG_2.HEIC", "x.dng", "notes.txt", "sub/@eaDir/t.jpg", ".hidden"):
        (small["photos"] / name).parent.mkdir(exist_ok=True)
        (small["photos"] / name).write_bytes(b"x")
    Image.new("RGB", (40, 30), "grey").save(small["photos"] / "DSC_1", "JPEG")
    result = launch("index", **small)
    first, second = result.out.splitlines()
    assert result.status == 0 and first.endswith(
        "added 4, changed 0, deleted 0, unchanged 0, not readable 0, passed over 5"
    )
    for words in ("2 .heic", "1 .dng", "1 .txt (notes.txt)", "(sub/@eaDir)"):
        assert words in second
    assert len(result.lines) == 2
    for words in ("2 .heic: IMG_1.HEIC, IMG_2.HEIC; to have", "1 .dng: x.dng"):
        assert words in "\n".join(result.lines)


def test_filters_that_no_picture_passes_are_named(launch, small, sketch):  # noqa: F811
    (small["photos"] / "other").mkdir()
    Image.new("RGB", (40, 30), "grey").save(small["photos"] / "other" / "x.png")
    launch("index", **small).succeeded()
    flags = {"checkpoint": small["checkpoint"], "sketch": sketch, "gallery": small["gallery"]}
    launch("search", "--folder=other", labels="sub", **flags).failed(
        "--folder=other holds no picture of", "with one of --labels=sub"
    )


def test_a_folder_that_is_not_there_any_more_is_named(launch, small, tmp_path):
    launch("index", **small).succeeded()
    moved = small["photos"].rename(tmp_path / "moved")
    result = launch("index", **(small | {"photos": moved}))
    assert result.status == 0 and "files added 3," in result.out
    (line,) = result.lines
    assert line.startswith(f"{small['photos']} is not there: 3 files of it stay in the gallery")
    launch("index", gallery=small["gallery"], remove=small["photos"]).succeeded()
    assert launch("index", **(small | {"photos": moved})).succeeded().count("3 pictures; files")


def test_several_folders_are_kept_in_one_gallery(launch, small, sketch, tmp_path):  # noqa: F811
    Image.new("RGB", (40, 30), "black").save(tmp_path / "black.png")
    more = tmp_path / "more"
    more.mkdir()
    (tmp_path / "black.png").rename(more / "black.png")
    result = launch("index", f"--photos={more}", "--exclude=sub", **small)
    first, _, second = result.succeeded().splitlines()
    assert f"1 pictures; files of {small['photos']} added 1," in first and "passed over 1" in first
    assert f"2 pictures; files of {more} added 1," in second
    flags = {"checkpoint": small["checkpoint"], "sketch": sketch, "photos": more}
    found = launch("search", f"--photos={small['photos']}", "--exclude=sub", **flags).succeeded()
    assert {path for *_, path in ranking(found)} == {
        str(more / "black.png"), str(small["photos"] / "red.png")
    }  # fmt: skip
    launch("index", f"--photos={more}/.", **small | {"photos": more}).failed(
        "name each folder once"
    )


def test_watching_keeps_a_gallery_current(launch, small):
    pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra `watch`")
    process = launch.start("index", "--watch", "--exclude=raw", **small)

    def has(words):
        wait_for(lambda: words in launch.out.read_text())

    has("; Ctrl-C ends it")
    Image.new("RGB", (40, 30), "black").save(small["photos"] / "sub" / "black.png")
    has("4 pictures; files added 1, changed 0, deleted 0, unchanged 3")
    (small["photos"] / "red.png").unlink()
    has("3 pictures; files added 0, changed 0, deleted 1, unchanged 3")
    small["photos"].rename(small["photos"].with_name("off"))
    wait_for(lambda: "error: " in launch.err.read_text())
    os.kill(process, signal.SIGINT)
    result = launch.wait()
    assert result.status == 0 and any("is not a folder; name" in line for line in result.lines)


def test_ctrl_c_ends_watching_in_the_middle_of_a_sync_too(launch, small, tmp_path):
    pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra `watch`")
    Image.effect_noise((7000, 7000), 50).save(tmp_path / "large.png", compress_level=1)
    process = launch.start("index", "--watch", **small)
    wait_for(lambda: "; Ctrl-C ends it" in launch.out.read_text())
    before = len(launch.err.read_text())
    (tmp_path / "large.png").rename(small["photos"] / "large.png")
    wait_for(lambda: "gallery:" in launch.err.read_text()[before:])  # it has begun to read
    os.kill(process, signal.SIGINT)
    launch.wait().succeeded()
    assert "3 pictures" in launch("index", "--info", gallery=small["gallery"]).succeeded()


def test_watching_is_for_folders(launch, given):
    flags = {"gallery": given["gallery"]}
    launch("index", "--info", "--watch", **flags).failed("--watch is for --photos only", status=2)


def test_a_run_that_fails_leaves_nothing_in_the_way(launch, small, sketch, tmp_path):  # noqa: F811
    (tmp_path / "none").mkdir()
    launch("index", **(small | {"photos": tmp_path / "none"})).failed("holds no picture")
    assert not small["gallery"].exists()
    launch("index", dimensions=16, **small).failed(
        "dimensions=16 cannot be learned from 3", "(0 keeps"
    )
    flags = {"checkpoint": small["checkpoint"], "sketch": sketch, "gallery": small["gallery"]}
    launch("search", **flags).failed("holds no picture yet", "launch.index")
    assert "added 3" in launch("index", dimensions=0, **small).succeeded()


def test_a_folder_of_broken_files_makes_no_silent_gallery(launch, small, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.png").write_bytes(b"no picture")
    result = launch("index", **(small | {"photos": tmp_path / "broken"}))
    assert result.status == 1 and "a.png is not a picture" in result.lines[0]
    assert "none of 1 files could be read" in result.lines[1]


def test_photos_and_gallery_swapped(launch, small):
    before = sorted(small["photos"].rglob("*"))
    launch("index", **(small | {"gallery": small["photos"]})).failed(
        "is no gallery and holds 2 other"
    )
    launch("index", **small).succeeded()
    swapped = {"photos": small["gallery"], "gallery": small["photos"]}
    launch("index", **(small | swapped)).failed("holds a gallery and no picture", "name a folder")
    assert sorted(small["photos"].rglob("*")) == before


def test_folders_that_are_off_pruned_or_removed(launch, small, tmp_path):
    launch("index", **small).succeeded()
    (small["photos"] / "sub").rename(tmp_path / "off")
    result = launch("index", **small)
    (line,) = result.lines
    assert result.status == 0 and "deleted 0" in result.out
    assert (
        line.startswith(f"{small['photos']}/sub holds no picture any more: 2 files")
        and "; --prune" in line
    )
    assert "deleted 2" in launch("index", "--prune", **small).succeeded()
    shutil.rmtree(small["photos"])
    gallery = {"gallery": small["gallery"]}
    info = launch("index", "--info", **gallery).succeeded()
    assert f"1 files of {small['photos']}, which is not there now" in info and "L6+L7" in info
    launch("index", remove="/nowhere", **gallery).failed("holds no picture of /nowhere", "--info")
    told = launch("index", remove=small["photos"], **gallery).succeeded()
    assert told == f"{small['gallery']}: 0 pictures; 1 files of {small['photos']} removed\n"


def test_copies_are_told(launch, small):
    for i in range(3):
        shutil.copy(small["photos"] / "red.png", small["photos"] / f"sub/red{i}.png")
    first, second = launch("index", **small).succeeded().splitlines()
    assert ": 3 pictures and 3 copies of them; files added 6," in first
    paths = [small["photos"] / "red.png", *(small["photos"] / f"sub/red{i}.png" for i in range(3))]
    assert second == f"one picture, listed once: {', '.join(map(str, paths))}"
    assert second in launch("index", "--info", gallery=small["gallery"]).succeeded()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"checkpoint": None}, ("with --photos, --checkpoint must be given",)),
        ({"photos": None}, ("one of --photos, --remove and --info must be given",)),
        (
            {"remove": "x"},
            ("one of --photos, --remove and --info must be given", "not --photos and"),
        ),
        ({"photos": None, "info": True, "prune": True}, ("--prune is for --photos only",)),
    ],
)
def test_flags_that_do_not_belong_together(launch, given, more, words):
    flags = {name: value for name, value in (given | more).items() if value is not None}
    launch("index", **flags).failed(*words, status=2)


def test_a_picture_that_is_gone_is_a_blank_with_its_name(launch, small, sketch, tmp_path):  # noqa: F811
    launch("index", **small).succeeded()
    (small["photos"] / "red.png").unlink()
    flags = {"checkpoint": small["checkpoint"], "sketch": sketch, "gallery": small["gallery"]}
    result = launch("search", figure=tmp_path / "found.png", **flags)
    assert (
        result.status == 0 and len(ranking(result.out)) == 3 and (tmp_path / "found.png").exists()
    )
    (line,) = result.lines
    assert line.startswith(f"{small['photos']}/red.png is gone") and "launch.index" in line
