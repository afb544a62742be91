"""Flickr15k: queries and photos of the same classes, all of them for testing."""

import pytest

from data_builders.faults import BadFile
from data_builders.prepare import build
from dsf_jax.data.records import list_datasets, open_records
from tests.data_builders.drawn import drawing, photo, write_tree, write_zip

TREE = {
    **{
        f"flickr15k/sketches/{c}/{i}.png": drawing(4 + i) for c in ("arc", "bird") for i in range(2)
    },
    **{
        f"flickr15k/photos/{c}/{i}.jpg": photo(i, "JPEG")
        for c in ("arc", "bird", "cup")
        for i in range(3)
    },
}


def test_queries_and_photos_share_their_labels(tmp_path):
    source = write_zip(tmp_path / "flickr15k.zip", TREE)
    build("flickr15k", tmp_path, source=source)
    assert list_datasets(tmp_path) == {
        "flickr15k/photo": {"test": 9},
        "flickr15k/sketch": {"test": 4},
    }
    for config in ("sketch", "photo"):
        records = open_records(tmp_path, f"flickr15k/{config}", "test")
        assert records.class_names == ("arc", "bird", "cup")
        for record in records:
            assert record["source_id"].startswith(records.class_names[record["label"]] + "/")
            assert ("points" in record) == (config == "sketch")


def distributed(**more):
    """The archive's own layout: two classes, photos of the second in two folders."""
    lines = ["1 arc/a.jpg", "1 arc/b.jpg", "2 bird/a.jpg", "2 crow/a.jpg", ""]
    names = ("arc/a.jpg", "arc/b.jpg", "bird/a.jpg", "crow/a.jpg")
    return {
        "f/groundtruth": "\r\n".join(lines).encode(),
        **{f"f/330sketches/{p}/{n}.png": drawing(4 + n + 3 * p) for n in (1, 2) for p in (1, 2, 3)},
        **{f"f/{name}": photo(i, "JPEG") for i, name in enumerate(names)},
        **more,
    }


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("write", [write_zip, write_tree])
def test_the_archives_own_layout(mark, write, tmp_path):
    files = distributed()
    files["f/groundtruth"] = mark + files["f/groundtruth"]
    build("flickr15k", tmp_path, source=write(tmp_path / "source.zip", files))
    photos = open_records(tmp_path, "flickr15k/photo", "test")
    sketches = open_records(tmp_path, "flickr15k/sketch", "test")
    assert photos.class_names == sketches.class_names == ("arc", "bird+crow")
    assert {record["source_id"] for record in photos} == {
        "arc/a.jpg", "arc/b.jpg", "bird+crow/bird/a.jpg", "bird+crow/crow/a.jpg",
    }  # fmt: skip
    assert {record["source_id"] for record in sketches} == {
        f"{name}/{person}/{n}.png" for n, name in ((1, "arc"), (2, "bird+crow")) for person in "123"
    }
    for record in (*photos, *sketches):
        assert record["source_id"].startswith(record["class_name"] + "/")


def test_a_photo_of_two_classes_is_a_record_of_each(tmp_path):
    files = distributed(**{"f/groundtruth": b"1 arc/a.jpg\n2 arc/a.jpg\n2 arc/b.jpg\n"})
    build("flickr15k", tmp_path, source=write_tree(tmp_path / "source", files))
    photos = open_records(tmp_path, "flickr15k/photo", "test")
    assert photos.class_names == ("arc 1", "arc 2")
    ids = sorted(record["source_id"] for record in photos)
    assert ids == ["arc 1/arc/a.jpg", "arc 2/arc/a.jpg", "arc 2/arc/b.jpg"]


def test_photos_that_no_line_lists_are_counted(tmp_path, capsys):
    files = distributed(**{"f/arc/more.jpg": photo(7, "JPEG")})
    build("flickr15k", tmp_path, source=write_tree(tmp_path / "source", files))
    assert list_datasets(tmp_path)["flickr15k/photo"] == {"test": 4}
    assert "in no line of groundtruth (source: f/arc/more.jpg)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"arc/a.jpg", "line 1: is no class number and path"),
        (b"1 arc/none.jpg", "line 1: lists a photo that is not there; add arc/none.jpg"),
        (b"1 arc/a.jpg\n1 arc/a.jpg", "line 2: lists a photo again"),
        (b"1 arc/\xe9.jpg", "not UTF-8 text"),
        (b"1 arc/a.jpg", "2.png: no photo of its class is in groundtruth"),
    ],
)
def test_a_wrong_list_is_named(line, reason, tmp_path):
    files = distributed(**{"f/groundtruth": line})
    with pytest.raises(BadFile, match=reason):
        build("flickr15k", tmp_path / "data", source=write_tree(tmp_path / "source", files))
