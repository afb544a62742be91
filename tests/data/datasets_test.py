"""Which data sets a command names, and how often their files are opened."""

from pathlib import Path
from typing import Any

import pytest

from dsf_jax.data import records
from dsf_jax.data.datasets import (
    DataSetSpec,
    Folds,
    open_datasets,
    open_held_out,
    open_mixture,
    read_class_list,
    read_folds,
)
from dsf_jax.data.unseen import UnseenClasses
from tests.data.zoo import prepare_zoo


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("prepared")
    prepare_zoo(folder)
    return str(folder)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The data sets whose description files have been opened, one entry per time."""
    folders: list[str] = []
    really_open = records._open_builder

    def count(folder: Path) -> Any:
        folders.append(folder.parent.name)
        return really_open(folder)

    monkeypatch.setattr(records, "_open_builder", count)
    return folders


@pytest.mark.parametrize(
    ("text", "name", "split"),
    [
        ("zoo/sketch", "zoo/sketch", None),
        ("zoo/sketch:fold0+fold1", "zoo/sketch", "fold0+fold1"),
        ("zoo:train[:10%]", "zoo", "train[:10%]"),
        ("zoo:", "zoo", None),
    ],
)
def test_a_name_may_have_a_split(text: str, name: str, split: str | None) -> None:
    assert DataSetSpec.parse(text) == DataSetSpec(name, split)


def test_a_split_of_its_own_comes_first(data_dir: str) -> None:
    for text, size in (("zoo/sketch", 5), ("zoo/sketch:train[:2]", 2)):
        assert len(DataSetSpec.parse(text).open(data_dir, "train")) == size


def test_data_sets_are_opened_once_per_run(data_dir: str, opened: list[str]) -> None:
    names = ("zoo/sketch", "zoo/photo", "zoo/edge")
    mixture = open_mixture(data_dir, names, "train", "S+I+E")
    assert len([*mixture.drawings, *mixture.photos]) == 12
    assert sorted(opened) == ["edge", "photo", "sketch"]
    held_out = open_held_out(
        data_dir, ["zoo/sketch:train[:2]"], "train", class_names=mixture.class_names
    )
    assert held_out is not None and len([*held_out.drawings]) == 2
    assert sorted(opened) == ["edge", "photo", "sketch", "sketch"]


def test_looking_at_a_data_set_opens_nothing(data_dir: str, opened: list[str]) -> None:
    data_set = DataSetSpec("zoo/photo").open(data_dir, "train")
    for _ in range(3):
        assert (data_set.domain, data_set.name, len(data_set)) == ("photo", "zoo/photo", 7)
        assert [set(record) for record in data_set.read("label")] == [{"label"}] * 7
        assert set(data_set.read()[0]) == {"class_name", "domain", "image", "label"}
    assert opened == ["photo"]


def test_a_mixture_leaves_out_and_names_the_domains_that_it_lacks(data_dir: str) -> None:
    mixture = open_mixture(data_dir, ("zoo/sketch", "zoo/photo"), "train", "S")
    assert len(mixture.photos) == 0
    assert mixture.not_used == (" photo: none of 7 from zoo/photo [train]; mixture S has no photo",)
    with pytest.raises(
        ValueError, match=r"S\+I needs the domain photo; .*zoo/sketch \(sketch\); add"
    ):
        open_mixture(data_dir, ("zoo/sketch",), "train", "S+I")


def test_a_class_map_of_other_data_sets_is_refused_where_it_is_given(data_dir: str) -> None:
    elsewhere = {"cat": {"aviary": ["cat"]}}
    with pytest.raises(
        ValueError, match="names aviary, but the data sets are zoo; use their names"
    ):
        open_mixture(data_dir, ("zoo/sketch",), "train", "S", class_map=elsewhere)
    # What is held out is often one of many that the map is of.
    held_out = open_held_out(
        data_dir, ["zoo/sketch"], "train", class_names=("cat",), class_map=elsewhere
    )
    assert held_out is not None and len(held_out.drawings) == 2


def test_nothing_held_out_is_none(data_dir: str) -> None:
    assert open_held_out(data_dir, [], "train", class_names=("cat",)) is None


def test_a_data_set_of_another_domain_is_refused(data_dir: str) -> None:
    (records_,) = open_datasets(data_dir, ["zoo/edge"], "train", ("sketch", "edge"))
    assert records_.domain == "edge"
    with pytest.raises(
        ValueError, match="zoo/photo is of the domain photo, not sketch or edge; name"
    ):
        open_datasets(data_dir, ["zoo/photo"], "train", ("sketch", "edge"))


@pytest.mark.parametrize(
    "named",
    [
        ["zoo/photo", "zoo/photo:train"],
        ["zoo/photo:train+train"],
        ["zoo/photo:train[:2]", "zoo/edge", "zoo/photo:train[1:]"],
    ],
)
def test_a_record_that_would_be_scored_twice_is_refused(named: list[str], data_dir: str) -> None:
    with pytest.raises(ValueError, match=r"zoo/photo .* records in common, .*; name each part"):
        open_datasets(data_dir, named, "train", ("photo", "edge"))
    with pytest.raises(ValueError, match="records in common"):
        open_held_out(data_dir, named, "train", class_names=("cat",))


def test_parts_of_one_split_are_no_repetition(data_dir: str) -> None:
    named = ["zoo/photo:train[1:]", "zoo/edge:train", "zoo/photo:train[:1]"]
    assert len(open_datasets(data_dir, named, "train", ("photo", "edge"))) == 3


def test_one_fold_is_held_out_of_the_data_sets_that_are_cut() -> None:
    folds = Folds(("a", "b", "c:train"), frozenset("a"), 3)
    assert folds.hold_out(1) == (["a:fold0+fold2", "b", "c:train"], ["a:fold1"])


def test_folds_are_those_of_data_sets_without_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"a": {"fold0": 1, "fold1": 1}, "b": {"train": 2}, "c": {"fold0": 1}}
    monkeypatch.setattr("dsf_jax.data.datasets.list_datasets", lambda _: splits)
    assert read_folds("", ["a", "b", "c:fold0"]) == Folds(("a", "b", "c:fold0"), frozenset("a"), 2)
    for wrong in (["b"], ["a:fold0"]):
        with pytest.raises(ValueError, match=rf"none of {wrong[0]} is cut .*; train without folds"):
            read_folds("", wrong)
    with pytest.raises(ValueError, match=r"of a, c, b, .* have a 2, c 1; name a split of those"):
        read_folds("", ["a", "c", "b"])


def test_class_lists_have_one_name_per_line(tmp_path: Path) -> None:
    assert read_class_list(None) is None
    path = tmp_path / "classes.txt"
    path.write_text("cat\n\n a dog \n", encoding="utf-8")
    assert read_class_list(str(path)) == ["cat", "a dog"]
    path.write_text("\n")
    with pytest.raises(ValueError, match="lists no class; write one name per line"):
        read_class_list(str(path))


def test_class_lists_of_windows_and_macos(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeffcafe\u0301\r\ndog\r\n".encode())
    assert read_class_list(str(path)) == ["caf\u00e9", "dog"]
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match=r"classes\.txt is not UTF-8 text"):
        read_class_list(str(path))


def test_unseen_classes_are_omitted_and_must_be_known(data_dir: str) -> None:
    names = ["zoo/sketch", "zoo/photo"]
    unseen = UnseenClasses("mine", None, ("Dog", "yak"))
    mixture = open_mixture(data_dir, names, "train", "S+I", unseen=unseen)
    assert mixture.class_names == ("cat", "Äffchen 🐒")
    with pytest.raises(ValueError, match=r"1 of the 1 unseen classes of mine .*'axe' for one"):
        open_mixture(data_dir, names, "train", "S+I", unseen=unseen._replace(classes=("axe",)))
