"""DomainNet on pictures that these tests draw, in the layout of the official zips and unpacked."""

import pytest
from PIL import Image

from data_builders.domainnet.domainnet_dataset_builder import Builder, Options
from data_builders.faults import BadFile
from data_builders.prepare import build, prepare
from dsf_jax.data.records import list_datasets, open_records
from tests.data_builders.drawn import drawing, encoded, photo, write_tree, write_zip

CLASSES = ("The_Eiffel_Tower", "alarm_clock")
DRAWN = ("sketch", "quickdraw")


def pictures(domain, count=4):
    """{DOMAIN/CLASS/DOMAIN_NUMBER_NUMBER: content}."""
    kind = "jpg" if domain in ("real", "sketch") else "png"
    return {
        f"{domain}/{name}/{domain}_{c:03}_{i:06}.{kind}": (
            drawing(8 + 3 * i + c) if domain in DRAWN else photo(4 * c + i)
        )
        for c, name in enumerate(CLASSES)
        for i in range(1, count + 1)
    }


def lists(domain, paths):
    """The two lists: every fourth picture is for testing."""
    lines = {"train": [], "test": []}
    for path in paths:
        number = int(path.rsplit("_")[-1].partition(".")[0])
        label = CLASSES.index(path.split("/")[1])
        lines["test" if number % 4 == 0 else "train"].append(f"{path} {label}\n")
    return {f"{domain}_{split}.txt": "".join(own).encode() for split, own in lines.items()}


def official(folder, domains=("real", "sketch")):
    """A folder of zips and lists, as they are downloaded."""
    for domain in domains:
        files = pictures(domain)
        write_zip(folder / f"{domain}.zip", files)
        write_tree(folder, lists(domain, files))
    return folder


def made(source, data_dir, config="real", **arguments):
    builder = Builder(config=config, data_dir=data_dir, source=source, processes=1, **arguments)
    prepare(builder)
    return builder


def test_a_folder_of_official_zips_is_cut_as_the_lists_say(tmp_path, capsys):
    source = tmp_path / "zips"
    source.mkdir()
    build("domainnet", tmp_path / "out", source=official(source), processes=1)
    cut = {"train": 6, "test": 2}
    assert list_datasets(tmp_path / "out") == {"domainnet/real": cut, "domainnet/sketch": cut}
    assert "domainnet/clipart: left out" in capsys.readouterr().out
    for config, domain in (("real", "photo"), ("sketch", "sketch")):
        records = open_records(tmp_path / "out", f"domainnet/{config}", "test")
        assert records.class_names == CLASSES and records.domain == domain
        assert {r["source_id"].split("_")[-1].split(".")[0] for r in records} == {"000004"}
    official(source, ("quickdraw",))  # added later: what is there stays
    build("domainnet", tmp_path / "out", source=source, processes=1)
    assert list_datasets(tmp_path / "out")["domainnet/quickdraw"] == cut


def test_unpacked_folders_without_lists_are_cut_on_demand_alone(tmp_path):
    source = write_tree(tmp_path / "in", pictures("real"))
    with pytest.raises(FileNotFoundError, match=r"real_train\.txt is not there.*--cut=own"):
        made(source, tmp_path / "out")
    assert not list_datasets(tmp_path / "out")
    made(source, tmp_path / "out", options=Options(cut="own", test_share=0.5))
    assert list_datasets(tmp_path / "out") == {"domainnet/real": {"train": 4, "test": 4}}


def test_what_the_lists_do_not_have_and_what_is_not_there_is_counted(tmp_path):
    files = pictures("real")
    named = [path for path in files if "000002" not in path] + ["real/zebra/real_345_000001.jpg"]
    source = write_tree(tmp_path / "in", {**files, **{"real_test.txt": b"", "real_train.txt": b""}})
    text = "".join(f"{path} 0\n" for path in named)
    (source / "real_train.txt").write_text(text)
    builder = made(source, tmp_path / "out")
    assert builder.skipped.counts == {
        "in neither of the set's lists": 2,
        "in the set's lists, but not there": 1,
    }
    assert list_datasets(tmp_path / "out") == {"domainnet/real": {"train": 6}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("real/a/1.jpg\n", "not of the form real/CLASS/FILE NUMBER"),
        ("sketch/a/1.jpg 0\n", "not of the form"),
        ("real/a/1.jpg 0\n\nreal/a/1.jpg 0\n", "same picture as real_train.txt line 1"),
    ],
)
def test_a_list_of_another_form_is_an_error(tmp_path, text, reason):
    source = write_tree(tmp_path / "in", {**pictures("real"), "real_test.txt": b""})
    (source / "real_train.txt").write_text(text)
    with pytest.raises(BadFile, match=f"real_train.txt line [13]: .*{reason}"):
        made(source, tmp_path / "out")


def test_a_shaded_sketch_stops_the_build_or_is_counted(tmp_path):
    files = pictures("sketch")
    files[next(iter(files))] = encoded(Image.new("L", (40, 40), 20))
    source = write_tree(tmp_path / "in", {**files, **lists("sketch", files)})
    with pytest.raises(BadFile, match="more ink than paper"):
        made(source, tmp_path / "out", "sketch")
    builder = made(source, tmp_path / "out", "sketch", on_error="skip")
    assert len(builder.skipped) == 1
    assert list_datasets(tmp_path / "out") == {"domainnet/sketch": {"train": 5, "test": 2}}
