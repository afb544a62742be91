"""Public data sets: what is known of them, what a person must say, and what is downloaded."""

import pytest

from data_builders.caltech101.caltech101_dataset_builder import Builder as Caltech101
from data_builders.public_sets import PUBLIC_SETS, check_sources, obtain, public_sets
from data_builders.registry import builder_class
from data_builders.tu_berlin.tu_berlin_dataset_builder import STROKES
from tests.data.web import served
from tests.data_builders.drawn import drawing, write_tree


def test_options_and_checksums_are_the_builders(tmp_path):
    for own in PUBLIC_SETS.values():
        options = getattr(builder_class(own.name), "OPTIONS", dict)
        options(**own.options)
    assert list(PUBLIC_SETS["tu_berlin"].files.values()) == [STROKES]
    (caltech,) = PUBLIC_SETS["caltech101"].files.values()
    known = Caltech101(data_dir=tmp_path)._known_download(caltech.url)
    assert caltech.sha256 in (known.sha256, "")  # tests.recipes.small takes it away


def test_quickdraws_classes_are_all_there():
    from data_builders.public_sets import _quickdraw_files

    files = _quickdraw_files()
    assert len(files) == 345
    assert files["The Mona Lisa.ndjson"].url.endswith("/full/simplified/The%20Mona%20Lisa.ndjson")


SETS = ("tu_berlin/sketch:fold0", "sketchy/photo", "sketchy/sketch", "openmoji/sketch")


@pytest.mark.parametrize(
    ("sources", "accepted", "message"),
    [
        ({}, ["tu_berlin"], r"sketchy has no direct address.*--sources=sketchy=PATH"),
        ({"sketchy": "."}, [], r"tu_berlin: CC BY 4\.0.*--accept_licences=tu_berlin$"),
        ({"hust_si": "."}, [], r"sources names 'hust_si'.*choose of tu_berlin, sketchy, openmoji"),
        ({"sketchy": "."}, ["x"], "accept_licences names 'x'"),
        ({"sketchy": "no/where"}, [], "no/where, the source of sketchy, does not exist; correct"),
    ],
)
def test_what_only_a_person_knows_is_asked_for_first(sources, accepted, message):
    with pytest.raises((ValueError, OSError), match=message):
        check_sources(public_sets(SETS), sources, accepted)


def test_what_is_given_or_packaged_needs_no_licence_accepted():
    check_sources(public_sets(SETS), {"sketchy": ".", "tu_berlin": "."}, [])
    check_sources(public_sets(SETS), {"sketchy": "."}, ["tu_berlin"])


def test_a_file_with_another_checksum_is_not_kept(tmp_path):
    path = "cybertron.cg.tu-berlin.de/eitz/projects/classifysketch/sketches_svg.zip"
    own, data_dir = PUBLIC_SETS["tu_berlin"], tmp_path / "data"
    with (
        served(write_tree(tmp_path / "www", {path: b"no zip"})) as (address, _),
        pytest.raises(ValueError, match=r"its md5 is .*, expected aa7d8ae9"),
    ):
        obtain(own, data_dir, ["tu_berlin/sketch"], mirror=address)
    with pytest.raises(ValueError, match=r"mirror=nowhere is no http"):
        obtain(own, data_dir, ["tu_berlin/sketch"], mirror="nowhere")
    assert not [one for one in (tmp_path / "data").rglob("*") if one.is_file()]


def test_files_that_lack_what_is_needed_are_an_error(tmp_path):
    source = write_tree(tmp_path / "in", {"sketch/cat/1-1.png": drawing(5)})
    sketchy, wanted = PUBLIC_SETS["sketchy"], ["sketchy/sketch", "sketchy/photo"]
    with pytest.raises(ValueError, match=r"has nothing of sketchy/photo, which the recipe needs"):
        obtain(sketchy, tmp_path / "data", wanted, source=str(source), processes=1)
