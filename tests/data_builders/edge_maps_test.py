"""The edge_maps builder on a photo set that these tests prepare."""

import io
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_builders.edge_maps import edge_maps_dataset_builder as edge_maps
from data_builders.edge_maps.edge_maps_dataset_builder import Builder, Options
from data_builders.edge_maps.prepared_photos import photos, read_photo
from data_builders.faults import BadFile
from data_builders.prepare import prepare
from data_builders.records_format import Domain, record_features
from dsf_jax.data.records import list_datasets, open_records
from dsf_jax.images.points import points_from_image
from dsf_jax.models.edge_detector import canny_edges

CLASSES = ("apple", "zürich tram", "moon")
SIZES = ((40, 60), (64, 64), (90, 31), (33, 47), (50, 50), (8, 9), (70, 70))


def _pixels(i: int) -> np.ndarray:
    """A bright square on a dark ground, at a place of its own; number 4 is flat."""
    height, width = SIZES[i]
    photo = np.full((height, width, 3), 30, np.uint8)
    if i != 4:
        photo[height // 4 : height // 2 + i, width // 4 : -2] = (200, 180, 90 + i)
    return photo


class PreparedSet(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Seven pictures in two splits, as any builder of data_builders would leave them."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("photo", "sketch")]  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        domain: Domain = self.builder_config.name
        return tfds.core.DatasetInfo(builder=self, features=record_features(domain, CLASSES))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {
            "train": self._generate_examples(range(5)),
            "fold2": self._generate_examples(range(5, 7)),
        }

    def _generate_examples(self, numbers: Iterable[int]) -> Iterator[tuple[str, dict[str, Any]]]:
        for i in numbers:
            buffer = io.BytesIO()
            picture = Image.fromarray(_pixels(i))
            if self.builder_config.name == "sketch":
                picture = picture.convert("L")
            picture.save(buffer, "PNG")
            record = {
                "image": buffer.getvalue(),
                "label": CLASSES[i % 2],  # no record is of the third class
                "class_name": CLASSES[i % 2],
                "domain": self.builder_config.name,
                "source_id": f"{CLASSES[i % 2]}/{i}",
            }
            if self.builder_config.name == "sketch":
                record["points"] = np.zeros((1, 3), np.uint16)
            yield f"{i}", record


def _prepare(data_dir: Path, config: str = "photo", version: str | None = None) -> Path:
    builder = PreparedSet(
        config=config, data_dir=data_dir, file_format="array_record", version=version
    )
    builder.download_and_prepare()
    return Path(builder.data_dir)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    _prepare(folder)
    _prepare(folder, "sketch")
    return folder


def _options(**options: Any) -> Options:
    return Options(**{"photo_set": "prepared_set/photo", "detector": "canny", **options})


def _build(data_dir: Path, source: Path | None = None, **options: Any) -> Builder:
    builder = Builder(data_dir=data_dir, source=source, options=_options(**options), processes=1)
    prepare(builder)
    return builder


def _by_id(data_dir: Path, name: str, split: str) -> dict[str, dict[str, Any]]:
    return {record["source_id"]: record for record in open_records(data_dir, name, split)}


def _bright(photos: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """A detector that marks what is bright; reads two photos ahead, as a batched one would."""
    batch: list[np.ndarray] = []
    for photo in photos:
        batch.append(photo)
        if len(batch) == 2:
            yield from (one[..., 0] > 100 for one in batch)
            batch = []
    yield from (one[..., 0] > 100 for one in batch)


@pytest.fixture
def fake_hed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def choose(detector: str, **options: Any) -> Any:
        assert detector == "hed"
        return _bright

    monkeypatch.setattr(edge_maps, "edge_detector", choose)
    edge_maps._detector.cache_clear()
    yield choose
    edge_maps._detector.cache_clear()


def test_every_photo_has_its_edge_record(data_dir: Path, tmp_path: Path) -> None:
    _build(tmp_path, data_dir)
    name = "edge_maps/prepared_set-canny"
    assert list_datasets(tmp_path) == {name: {"train": 5, "fold2": 2}}
    for split in ("train", "fold2"):
        edges, sources = (
            _by_id(tmp_path, name, split),
            _by_id(data_dir, "prepared_set/photo", split),
        )
        assert edges.keys() == sources.keys()
        assert open_records(tmp_path, name, split).class_names == CLASSES
        for key, record in edges.items():
            photo = sources[key]
            assert record["domain"] == "edge"
            assert record["class_name"] == photo["class_name"]
            assert record["label"] == photo["label"]
            expected = canny_edges(photo["image"])
            np.testing.assert_array_equal(record["image"][..., 0], np.where(expected, 0, 255))
            np.testing.assert_array_equal(
                record["points"], points_from_image(record["image"][..., 0])
            )
            assert record["points"].dtype == np.uint16


def test_a_flat_photo_keeps_its_record_with_an_empty_map(data_dir: Path, tmp_path: Path) -> None:
    _build(tmp_path, data_dir)
    flat = _by_id(tmp_path, "edge_maps/prepared_set-canny", "train")["apple/4"]
    assert flat["points"].shape == (0, 3) and (flat["image"] == 255).all()


def test_photos_are_sought_next_to_the_edge_maps_by_default(tmp_path: Path) -> None:
    _prepare(tmp_path)
    _build(tmp_path)
    assert set(list_datasets(tmp_path)) == {"prepared_set/photo", "edge_maps/prepared_set-canny"}


@pytest.mark.usefixtures("fake_hed")
def test_batched_detectors_keep_maps_and_photos_together(data_dir: Path, tmp_path: Path) -> None:
    _build(tmp_path, data_dir, detector="hed", thinned=False, longest_side=40)
    for split in ("train", "fold2"):
        sources = _by_id(data_dir, "prepared_set/photo", split)
        edges = _by_id(tmp_path, "edge_maps/prepared_set-hed", split)
        assert edges.keys() == sources.keys()
        for key, record in edges.items():
            photo = sources[key]["image"]
            height, width, _ = record["image"].shape
            assert max(height, width) == min(40, max(photo.shape))
            assert abs(height / width - photo.shape[0] / photo.shape[1]) < 0.05
            bright = (photo[..., 0] > 100).mean()
            assert abs((record["image"] == 0).mean() - bright) < 0.05
            np.testing.assert_array_equal(
                record["points"], points_from_image(record["image"][..., 0], thinned=False)
            )


@pytest.mark.usefixtures("fake_hed")
@pytest.mark.parametrize("detector", ["hed", "canny"])
def test_unreadable_photos_are_skipped_and_counted(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: str
) -> None:
    if detector == "canny":
        monkeypatch.undo()
        edge_maps._detector.cache_clear()

    def read(photo: Any, *, longest_side: int) -> np.ndarray:
        if photo.index == 1:
            raise BadFile(photo.where, "broken")
        return read_photo(photo, longest_side=longest_side)

    monkeypatch.setattr(edge_maps, "read_photo", read)
    options = _options(detector=detector)
    arguments = {"source": data_dir, "options": options, "processes": 1}
    with pytest.raises(ValueError, match="record 1 of split 'train': broken"):
        prepare(Builder(data_dir=tmp_path, **arguments))
    assert not list_datasets(tmp_path)
    builder = Builder(data_dir=tmp_path, on_error="skip", **arguments)
    prepare(builder)
    assert builder.skipped.counts == {"broken": 2}
    name = f"edge_maps/prepared_set-{detector}"
    assert list_datasets(tmp_path) == {name: {"train": 4, "fold2": 1}}
    for split in ("train", "fold2"):
        sources = _by_id(data_dir, "prepared_set/photo", split)
        for key, record in _by_id(tmp_path, name, split).items():
            assert record["image"].shape[:2] == sources[key]["image"].shape[:2]


def test_the_highest_version_is_read(tmp_path: Path) -> None:
    folder = _prepare(tmp_path)
    for version in ("1.10.0", "1.9.0"):
        shutil.copytree(folder, folder.with_name(version))
    shutil.copytree(folder, folder.with_name("1.11.0.incompleteABC"))
    (folder.with_name("1.9.0") / "label.labels.txt").unlink()
    builder = Builder(data_dir=tmp_path, options=_options())
    assert builder.find_source(None).name == "1.10.0"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prepared_set/sketch", "holds records of the domain 'sketch', no photos"),
        ("", "photo_set='' is no data set in .*there: prepared_set/photo, prepared_set/sketch"),
        ("prepared_set", "photo_set='prepared_set' is no data set"),
        ("nowhere/photo", "build it first"),
    ],
)
def test_a_wrong_photo_set_is_named(
    data_dir: Path, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises((ValueError, OSError), match=message) as caught:
        _build(tmp_path, data_dir, photo_set=name)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_photo_set_that_is_not_whole_is_named(tmp_path: Path) -> None:
    folder = _prepare(tmp_path)
    (folder / "label.labels.txt").unlink()
    with pytest.raises(ValueError, match="the description cannot be read") as caught:
        _build(tmp_path)
    assert str(folder) in str(caught.value)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    folder = _prepare(tmp_path)
    (shard,) = folder.glob("*train*")
    data = bytearray(shard.read_bytes())
    start = data.find(b"IDAT")
    assert start > 0
    data[start : start + 400] = bytes(400)
    shard.write_bytes(data)
    with pytest.raises(
        (ValueError, OSError), match=r"record . of split 'train' cannot be read"
    ) as caught:
        _build(tmp_path)
    assert "\n" not in str(caught.value)


def test_options_are_checked_before_anything_is_written(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="threshold=2"):
        _build(tmp_path, data_dir, threshold=2.0)
    with pytest.raises(ValueError, match="need the path of their model file"):
        _build(tmp_path, data_dir, detector="structured")
    with pytest.raises(ValueError, match="longest_side=-1"):
        _build(tmp_path, data_dir, longest_side=-1)
    with pytest.raises(ValueError, match="config='photo': these options build"):
        Builder(data_dir=tmp_path, config="photo", options=_options())
    assert not list(tmp_path.iterdir())


def test_other_options_do_not_pass_for_what_is_there(data_dir: Path, tmp_path: Path) -> None:
    _build(tmp_path, data_dir)
    _build(tmp_path, data_dir)
    with pytest.raises(ValueError, match="was built with longest_side=1024, not 9"):
        _build(tmp_path, data_dir, longest_side=9)


def test_a_builder_pickles_with_its_options(tmp_path: Path) -> None:
    builder = Builder(data_dir=tmp_path, config="edge", options=_options(threshold=0.5))
    again = pickle.loads(pickle.dumps(builder))
    assert again.options == builder.options and again.data_dir == builder.data_dir
    assert again.builder_config.name == "prepared_set-canny"


def test_worker_processes_make_the_same_records(data_dir: Path) -> None:
    (folder,) = (data_dir / "prepared_set" / "photo").iterdir()
    photo = photos(folder)["train"][0]
    again = pickle.loads(pickle.dumps(photo))
    assert again == photo and len(pickle.dumps(photo)) < 2000
    record = edge_maps._edge_record(again, options=_options())
    decoded = np.asarray(Image.open(io.BytesIO(record["image"])))
    np.testing.assert_array_equal(decoded == 0, canny_edges(_pixels(int(photo.key[-1]))))
