"""Beam's local runner writes the same records as the processes of one machine."""

import numpy as np
import pytest

pytest.importorskip("apache_beam", reason="the extra apache-beam is not installed")

from data_builders.prepare import prepare
from data_builders.sketch_photo_folders.sketch_photo_folders_dataset_builder import Builder
from dsf_jax.data.records import open_records
from tests.data_builders.drawn import drawing, photo, write_tree

# Beam's own code warns of what it will change; nothing of ours is at fault.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NAME = "sketch_photo_folders"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    tree = {f"sketches/c{k}/{i}.png": drawing(4 + k + i) for k in range(3) for i in range(10)}
    tree |= {f"photos/c{k}/{i}.jpg": photo(k + i, "JPEG") for k in range(3) for i in range(6)}
    tree |= {"photos/c0/empty.jpg": b"", "photos/c1/text.jpg": b"text", "photos/c2/empty.jpg": b""}
    return write_tree(tmp_path_factory.mktemp("source"), tree)


@pytest.mark.parametrize("config", ["sketch", "photo"])
def test_beam_gives_the_same_records_in_the_same_order(source, tmp_path, config):
    built = {}
    for name, options in (("cores", {"processes": 1}), ("beam", {"beam": True})):
        built[name] = Builder(
            config=config, data_dir=tmp_path / name, source=source, on_error="skip", **options
        )
        prepare(built[name])
    assert str(built["beam"].skipped) == str(built["cores"].skipped)
    assert built["beam"].skipped.counts == (
        {"empty file": 2, "is not a picture": 1} if config == "photo" else {}
    )
    metadata = [next((tmp_path / name).rglob("2.0.0/metadata.json")) for name in built]
    assert metadata[0].read_text() == metadata[1].read_text()
    for split in ("train", "test"):
        one, other = (open_records(tmp_path / name, f"{NAME}/{config}", split) for name in built)
        assert len(one) == len(other) > 0
        for record, same in zip(one, other, strict=True):
            assert record.keys() == same.keys()
            for field, value in record.items():
                np.testing.assert_array_equal(value, same[field])


def test_a_broken_file_stops_a_pipeline_and_is_named(source, tmp_path):
    builder = Builder(config="photo", data_dir=tmp_path, source=source, beam=True)
    with pytest.raises(
        ValueError, match=r"photos/c\d/\w+\.jpg .*: (empty file|is not a picture);"
    ) as caught:
        prepare(builder)
    assert "\n" not in str(caught.value) and "while running 'train/records'" in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
