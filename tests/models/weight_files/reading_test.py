"""Which reader a file gets, and what is refused before any reads it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsf_jax.models.weight_files import reading
from dsf_jax.models.weight_files.reading import read_weights
from tests.models.weight_files.encoders import TORCH_MAGIC, small_net, written


@given(data=st.binary(max_size=200), start=st.sampled_from(range(5)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_garbage_gives_one_line(tmp_path: Path, data: bytes, start: int) -> None:
    magic = [b"\x93NUMPY\x01\x00", b"PK\x03\x04", TORCH_MAGIC, b"\x80\x02", b""][start]
    path = written(tmp_path, "net.caffemodel", magic + data)
    try:
        read_weights(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)


def test_a_renamed_file_is_told_by_its_content(tmp_path: Path) -> None:
    bias = np.ones(3, np.float32)
    np.savez(tmp_path / "net.npz", **{"conv1/bias": bias})
    path = (tmp_path / "net.npz").rename(tmp_path / "net.caffemodel")
    np.testing.assert_array_equal(read_weights(path).layers["conv1"]["bias"], bias)


def test_an_unknown_format_lists_the_known(tmp_path: Path) -> None:
    path = written(tmp_path, "net.bin", small_net("v2")[0])
    with pytest.raises(ValueError, match=r"of no known format .* known are \.caffemodel, \.npy"):
        read_weights(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(
            FileNotFoundError, match="no such weight file; give the path of a"
        ) as error:
            read_weights(path)
        assert str(path) in str(error.value)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "net.caffemodel", small_net("v2")[0])
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="bytes, more than the 100 a weight file may have"):
        read_weights(path)


def test_a_zip_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **{"conv1/kernel": np.zeros(100_000, np.float32)})
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(reading, "MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match="1 entries of 400128 bytes; at most"):
        read_weights(path)
