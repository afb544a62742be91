"""What a data set was built from is part of it; a rebuild never loses what was there."""

import os
import pathlib
import shutil
import unicodedata

import pytest

from data_builders.faults import BadFile
from data_builders.prepare import build
from data_builders.quickdraw.quickdraw_dataset_builder import Options as QuickDrawOptions
from data_builders.sketch_photo_folders.sketch_photo_folders_dataset_builder import Options
from dsf_jax.data.records import list_datasets, open_records
from tests.data_builders.drawn import drawing, photo, write_tree, write_zip

NAME = "sketch_photo_folders"
SKETCH, PHOTO = f"{NAME}/sketch", f"{NAME}/photo"
TREE = {
    **{f"sketches/{c}/{i}.png": drawing(9 * k + i + 3) for k, c in enumerate("ab") for i in "123" for i in [int(i)]},
    **{f"photos/{c}/{i}.png": photo(i) for c in "ab" for i in range(2)},
}  # fmt: skip


@pytest.fixture
def source(tmp_path):
    return write_tree(tmp_path / "source", TREE)


def rows(data_dir, name=SKETCH):
    records = open_records(data_dir, name, "train+test")
    return {record["source_id"]: record["image"].tobytes() for record in records}


def left_over(data_dir):
    return [
        path for path in data_dir.rglob("*") if path.name.startswith((".overwrite", "replaced"))
    ]


def change(source):
    (source / "sketches/a/1.png").write_bytes(drawing(30))


def add(source):
    (source / "photos/b/9.png").write_bytes(photo(9))


def remove(source):
    (source / "sketches/b/2.png").unlink()


def rename(source):
    (source / "sketches/b").rename(source / "sketches/c")


@pytest.mark.slow
@pytest.mark.parametrize("how", [change, add, remove, rename])
def test_a_changed_source_is_refused_until_it_is_to_be_overwritten(how, source, tmp_path, capsys):
    data_dir = tmp_path / "data"
    build(NAME, data_dir, source=source)
    old = rows(data_dir), rows(data_dir, PHOTO)
    how(source)
    with pytest.raises(
        ValueError, match=r"its files changed; give --overwrite .* another data_dir"
    ):
        build(NAME, data_dir, source=source)
    assert (rows(data_dir), rows(data_dir, PHOTO)) == old
    capsys.readouterr()
    build(NAME, data_dir, source=source, overwrite=True)
    assert "(built, " in capsys.readouterr().out and left_over(data_dir) == []
    build(NAME, tmp_path / "new", source=source)
    assert rows(data_dir) == rows(tmp_path / "new")
    assert rows(data_dir, PHOTO) == rows(tmp_path / "new", PHOTO)
    assert (rows(data_dir), rows(data_dir, PHOTO)) != old


def test_another_source_is_refused_and_a_copy_is_not(source, tmp_path, capsys):
    data_dir = tmp_path / "data"
    build(NAME, data_dir, source=source)
    copy = shutil.copytree(source, tmp_path / "copy")
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    (copy / "notes.txt").write_text("no picture")
    build(NAME, data_dir, source=copy)
    assert capsys.readouterr().out.count("there already") == 2
    other = write_tree(tmp_path / "other", {name: photo(5) for name in TREE if "photos" in name})
    with pytest.raises(ValueError, match=r"was built from .*source with .* but .*other has"):
        build(NAME, data_dir, source=other)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        build(NAME, data_dir, source=tmp_path / "nowhere")


def test_an_archive_is_compared_as_it_is(tmp_path):
    archive = write_zip(tmp_path / "source.zip", TREE)
    build(NAME, tmp_path / "data", source=archive)
    build(NAME, tmp_path / "data", source=archive)
    write_zip(archive, {**TREE, "photos/b/9.png": photo(9)})
    with pytest.raises(ValueError, match="its files changed"):
        build(NAME, tmp_path / "data", source=archive)


def test_without_a_source_that_of_the_build_is_looked_at(source, tmp_path):
    build(NAME, tmp_path / "data", source=source)
    build(NAME, tmp_path / "data")
    change(source)
    with pytest.raises(ValueError, match="its files changed"):
        build(NAME, tmp_path / "data")
    shutil.rmtree(source)
    build(NAME, tmp_path / "data")  # nothing to compare with


def test_a_file_that_an_option_names_belongs_to_the_content(source, tmp_path):
    mapped = tmp_path / "map.json"
    mapped.write_text('{"A": "a"}')
    options = Options(class_map=str(mapped))
    build(NAME, tmp_path / "data", source=source, options=options)
    mapped.write_text('{"A": "b"}')
    with pytest.raises(ValueError, match=r"another content of class_map=.*map\.json"):
        build(NAME, tmp_path / "data", source=source, options=options)


def test_what_an_earlier_version_built_is_said_to_be_unknown(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("data_builders.builder.RecordsBuilder.source_digest", lambda *_: "x")
    build(NAME, tmp_path / "data", source=source)
    for path in (tmp_path / "data").rglob("metadata.json"):
        if '"source"' in (text := path.read_text()):
            path.write_text(text.replace('"source"', '"unknown"'))
    capsys.readouterr()
    build(NAME, tmp_path / "data", source=source)
    told = capsys.readouterr().out
    assert told.count("there already") == 2 and told.count("an earlier version built it") == 2


def test_a_rebuild_that_fails_leaves_all_as_it_was(source, tmp_path):
    """The second configuration fails: neither is replaced."""
    data_dir = tmp_path / "data"
    build(NAME, data_dir, source=source)
    old = rows(data_dir), rows(data_dir, PHOTO)
    change(source)
    (source / "photos/a/0.png").write_bytes(b"no picture")
    with pytest.raises(BadFile, match=r"photos/a/0\.png"):
        build(NAME, data_dir, source=source, overwrite=True)
    assert (rows(data_dir), rows(data_dir, PHOTO)) == old and left_over(data_dir) == []


def test_a_move_that_fails_puts_the_old_set_back(source, tmp_path, monkeypatch):
    data_dir = tmp_path / "data"
    build(NAME, data_dir, source=source)
    old = rows(data_dir)
    change(source)
    rename = pathlib.Path.rename

    def fails(path, target):
        if ".overwrite" in path.parts and "incomplete" not in path.name:
            raise OSError("gone")
        return rename(path, target)

    monkeypatch.setattr(pathlib.Path, "rename", fails)
    with pytest.raises(OSError, match="gone"):
        build(NAME, data_dir, source=source, overwrite=True)
    assert rows(data_dir) == old and left_over(data_dir) == []


def test_a_kill_between_the_moves_is_repaired(source, tmp_path):
    data_dir = tmp_path / "data"
    build(NAME, data_dir, source=source)
    old = rows(data_dir)
    final = data_dir / NAME / "sketch" / "2.0.0"
    final.rename(final.with_name("replaced.2.0.0"))
    write_tree(data_dir / ".overwrite" / NAME, {"sketch/half": b"built"})
    assert SKETCH not in list_datasets(data_dir)
    build(NAME, data_dir, source=source)
    assert rows(data_dir) == old and left_over(data_dir) == []


def test_a_domain_that_the_new_source_lacks_is_named(source, tmp_path, capsys):
    build(NAME, tmp_path / "data", source=source)
    shutil.rmtree(source / "photos")
    build(NAME, tmp_path / "data", source=source, overwrite=True)
    told = capsys.readouterr().out
    assert f"{PHOTO}: left out" in told and "of an earlier source, is left; remove it" in told


def test_what_was_skipped_is_said_again(source, tmp_path, capsys):
    (source / "sketches/a/1.png").write_bytes(b"")
    for _ in range(2):
        build(NAME, tmp_path / "data", source=source, on_error="skip")
    assert "skipped 1 when it was built: 1 empty file" in capsys.readouterr().out


GOOD = '{"word":"cat","key_id":"%s","drawing":[[[0,9],[0,9]]]}'
BAD = '{"word":"cat","key_id":"%s","drawing":[[],[]]}'


@pytest.mark.parametrize("seed", range(6))
def test_skipped_files_empty_no_split(seed, tmp_path):
    """Drawings are cut as if those that cannot be used had never been there."""
    source = tmp_path / "cat.ndjson"
    lines = [(GOOD if i in (0, 4) else BAD) % i for i in range(8)]
    source.write_text("\n".join(lines))
    options = QuickDrawOptions(split_seed=seed)
    build("quickdraw", tmp_path / "data", source=source, on_error="skip", options=options)
    assert list_datasets(tmp_path / "data") == {"quickdraw/sketch": {"train": 1, "test": 1}}


def test_a_fixed_split_of_which_nothing_is_left_is_named(tmp_path, capsys):
    """Sketchy's sketches go where their photos go: they are not cut again."""
    files = {f"photo/a/{i}.jpg": photo(i, "JPEG") for i in range(10)}
    files |= {f"sketch/a/{i}-1.png": drawing(4 + i) for i in range(10)}
    source = write_tree(tmp_path / "source", files)
    build("sketchy", tmp_path / "whole", source=source)
    (test,) = rows_of_split(tmp_path / "whole", "sketchy/sketch", "test")
    (source / f"sketch/{test}.png").write_bytes(b"")
    build("sketchy", tmp_path / "data", source=source, on_error="skip")
    assert list_datasets(tmp_path / "data")["sketchy/sketch"] == {"train": 9}
    told = capsys.readouterr().out
    assert "no split test: none of its 1 files can be used" in told
    assert "skipped 1 file: 1 empty file" in told


def rows_of_split(data_dir, name, split):
    return [record["source_id"] for record in open_records(data_dir, name, split)]


def test_nothing_usable_at_all_is_an_error(tmp_path):
    source = write_tree(tmp_path / "s", {f"sketches/a/{i}.png": b"" for i in range(3)})
    with pytest.raises(ValueError, match="nothing to build; skipped 3 files: 3 empty file"):
        build(NAME, tmp_path / "data", source=source, on_error="skip")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_refused_build_leaves_the_folder_of_data_as_it_was(overwrite, tmp_path):
    source = write_tree(tmp_path / "s", {"sketches/a/0.png": b""})
    data = tmp_path / "data"
    for made_before in (False, True):
        with pytest.raises(ValueError, match="empty file"):
            build(NAME, data, source=source, overwrite=overwrite)
        assert data.exists() is made_before
        data.mkdir(exist_ok=True)
    assert list(data.iterdir()) == []


def test_folders_named_in_another_form_are_one_class(tmp_path):
    """macOS decomposes the names of files."""
    name = "caf\u00e9"
    files = {
        f"sketches/{unicodedata.normalize(form, name)}/{form}{i}.png": drawing(5 + i)
        for form in ("NFC", "NFD")
        for i in range(2)
    }
    build(NAME, tmp_path / "data", source=write_tree(tmp_path / "s", files))
    assert open_records(tmp_path / "data", SKETCH, "train").class_names == (name,)
    assert len(rows(tmp_path / "data")) == 4
