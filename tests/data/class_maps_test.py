"""Maps of synonyms: what they may say, and how files of them are read."""

import collections
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dsf_jax.data.class_maps import (
    PUBLIC_CLASSES,
    check_class_map,
    read_class_map,
    restricted,
)
from dsf_jax.data.mixtures import mix

DATA = Path(os.environ.get("DSF_JAX_DEV_DATA", Path(__file__).parents[3] / "shared")) / "data"


def test_a_map_that_contradicts_itself_is_an_error(zoo: Any) -> None:
    class_map = {"monkey": {"zoo": ["yak"]}, "ape": {"zoo": ["yak"]}}
    with pytest.raises(
        ValueError, match="takes 'yak' of zoo for both 'monkey' and 'ape'; keep one"
    ):
        mix(zoo("photo"), class_map=class_map)


def test_a_map_of_classes_that_a_data_set_lacks_is_an_error(zoo: Any) -> None:
    with pytest.raises(ValueError, match="names 'cow' of zoo, which has no such class; correct it"):
        mix(zoo("photo"), class_map={"ox": {"zoo": ["cow"], "farm": ["ox"]}})


def test_a_map_need_speak_of_one_of_the_data_sets(zoo: Any) -> None:
    for map_ in (None, {}, {"monkey": {"zoo": ["yak"], "farm": ["ape"]}}):
        check_class_map(map_, zoo("photo"))
    with pytest.raises(ValueError, match="names farm, zoo/photo, but the data sets are zoo; use"):
        check_class_map({"ape": {"zoo/photo": ["yak"], "farm": ["ape"]}}, zoo("photo"))


def test_files_of_windows_and_macos(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_bytes('\ufeff{"cafe\u0301": {"s": ["cafe\u0301"]}}'.encode())
    assert read_class_map(str(path)) == {"caf\u00e9": {"s": ["caf\u00e9"]}}
    path.write_bytes(b'{"caf\xe9": {"s": ["dog"]}}')
    with pytest.raises(ValueError, match=r"map\.json is not UTF-8 text"):
        read_class_map(str(path))


def test_a_map_of_whole_data_sets_serves_parts_of_them(zoo: Any) -> None:
    class_map = {"ox": {"zoo": ["cow", "yak"], "farm": ["ox"]}, "sow": {"zoo": ["pig"]}}
    kept = restricted(class_map, zoo("photo"))
    assert kept == {"ox": {"zoo": ["yak"], "farm": ["ox"]}}
    mix(zoo("photo"), class_map=kept)


def test_the_map_of_public_sets_names_classes_that_they_have() -> None:
    class_map = read_class_map(str(PUBLIC_CLASSES))
    assert class_map
    own = collections.Counter(
        (set_name, name)
        for sets in class_map.values()
        for set_name in sets
        for name in sets[set_name]
    )
    assert set(own.values()) == {1}
    # TU-Berlin's and HUST SI's names are the map's own.
    assert {set_name for set_name, _ in own} == {"quickdraw", "sketchy", "domainnet", "caltech101"}
    assert all(len(sets.get("sketchy", ())) < 2 for sets in class_map.values())
    if not DATA.is_dir():
        pytest.skip(f"needs the development data in {DATA}")
    quickdraw = {path.stem for path in (DATA / "quickdraw_ndjson").iterdir()} | {"zigzag"}
    there = {
        "sketchy": {path.name for path in (DATA / "sketchy" / "photo").iterdir()},
        "quickdraw": quickdraw,
        "domainnet": {name.replace(" ", "_") for name in quickdraw},
    }
    assert not [pair for pair in own if pair[0] in there and pair[1] not in there[pair[0]]]
    mixed = {
        set_name: {
            next((m for m, sets in class_map.items() if name in sets.get(set_name, ())), name)
            for name in names
        }
        for set_name, names in there.items()
    }
    assert mixed["quickdraw"] == mixed["domainnet"] and len(mixed["quickdraw"]) == 345
    assert len(mixed["sketchy"]) == 125
    tu_berlin = set(json.loads((DATA / "class_map.json").read_text()))
    assert len(tu_berlin & mixed["quickdraw"]) > 190 and len(tu_berlin & mixed["sketchy"]) > 90
