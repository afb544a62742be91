"""Maps of synonyms: what they may say, and how files of them are read."""

from pathlib import Path
from typing import Any

import pytest

from dsf_jax.data.class_maps import (
    check_class_map,
    read_class_map,
)
from dsf_jax.data.mixtures import mix


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
