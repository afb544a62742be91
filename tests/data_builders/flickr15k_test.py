"""Flickr15k: queries and photos of the same classes, all of them for testing."""

from data_builders.prepare import build
from dsf_jax.data.records import list_datasets, open_records
from tests.data_builders.drawn import drawing, photo, write_zip

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
