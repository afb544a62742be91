"""Lists of unseen classes: their sizes and names, and how they meet the names of a mixture."""

import json
import os
import pathlib

import numpy as np
import pytest

from dsf_jax.data.unseen import UNSEEN, UnseenClasses, read_unseen

DATA = (
    pathlib.Path(os.environ.get("DSF_JAX_DEV_DATA", pathlib.Path(__file__).parents[3] / "shared"))
    / "data"
)


def names_of(data_set):
    """Names of a data set's classes, in the development data; TU-Berlin's 250 are not all there."""
    if not DATA.is_dir():
        pytest.skip(f"needs the development data in {DATA}")
    if data_set == "sketchy":
        return {path.name for path in (DATA / "sketchy" / "photo").iterdir()}
    if data_set == "quickdraw":
        return {path.stem for path in (DATA / "quickdraw_ndjson").iterdir()}
    return set(json.loads((DATA / "class_map.json").read_text()))


@pytest.mark.parametrize("name", UNSEEN)
def test_lists_have_the_number_of_classes_that_their_name_says(name):
    classes = UNSEEN[name].classes
    assert len(classes) == len({*classes}) == int(name.split("-")[1])
    assert name.startswith(f"{UNSEEN[name].data_set}-")


# TU-Berlin's names that share no class with another set in the development data.
ALONE = {
    "bookshelf", "bottle opener", "cabinet", "door handle", "rollerblades", "snowboard",
    "space shuttle", "tablelamp", "teacup", "walkie talkie",
}  # fmt: skip


@pytest.mark.parametrize("name", UNSEEN)
def test_names_are_those_of_the_data_set(name):
    assert {*UNSEEN[name].classes} - names_of(UNSEEN[name].data_set) <= ALONE


def test_the_split_of_sem_pcyc_is_drawn_as_its_code_draws_it():
    names = sorted(names_of("sketchy"))
    random = np.random.RandomState(0)  # the generator of that time
    trained = random.choice(names, 100, replace=False)
    assert {*UNSEEN["sketchy-25-sem-pcyc"].classes} == {*names} - {*trained}


NAMES = ["teddy-bear", "Harp", "bear (animal)", "hot air balloon", "songbird"]
LIST = UnseenClasses("mine", "sketchy", ("teddy_bear", "harp", "hot-air_balloon", "bear", "mouse"))


def test_names_meet_whichever_way_they_are_written_and_by_the_class_map():
    assert LIST.among(NAMES) == {"teddy-bear", "Harp", "hot air balloon"}
    class_map = {"bear (animal)": {"sketchy": ["bear"], "quickdraw": ["songbird"]}}
    assert LIST.known(NAMES, class_map) == {*NAMES} - {"songbird"}


def test_a_part_of_a_published_list_is_enough_and_nothing_of_it_is_an_error():
    assert LIST.known(["harp", "axe"]) == {"harp"}
    with pytest.raises(
        ValueError, match="5 of the 5 unseen classes of mine are in none of the data sets"
    ):
        LIST.known(["axe", "bed"])


def test_every_name_of_a_file_must_be_known(tmp_path):
    path = tmp_path / "unseen.txt"
    path.write_text("harp\n\n axe \n")
    unseen = read_unseen(str(path))
    assert unseen.classes == ("harp", "axe") and unseen.data_set is None
    assert unseen.known(["axe", "harp", "bed"]) == {"axe", "harp"}
    with pytest.raises(ValueError, match=r"1 of the 2 unseen classes of .*'axe' for one; correct"):
        unseen.known(["harp", "bed"])


def test_lists_by_name():
    assert read_unseen(None) is None
    assert read_unseen("sketchy-21") is UNSEEN["sketchy-21"]
    with pytest.raises(
        ValueError, match=r"'sketchy' is unknown; choose one of sketchy-25, .* or a file"
    ):
        read_unseen("sketchy")


@pytest.mark.parametrize("text", ["", "cat\nCat\n"])
def test_a_file_without_a_class_or_with_one_twice(text, tmp_path):
    path = tmp_path / "unseen.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match="expected at least one, each once; write one per line"):
        read_unseen(str(path))
