"""What a damaged or read-only gallery says can be done about it, without the storage library's paths."""

import re

import lancedb
import numpy as np
import pytest

from dsf_jax.gallery import store


def test_a_file_that_is_gone_is_named_with_a_remedy(tmp_path):
    database = lancedb.connect(str(tmp_path))
    table = database.create_table("pictures", [{"x": 1, "vector": np.zeros(2, np.float32)}])
    (file,) = (tmp_path / "pictures.lance" / "data").iterdir()
    file.unlink()
    with pytest.raises(OSError) as caught, store.storage_errors(str(tmp_path)):
        table.search().select(["x"]).to_arrow()
    said = str(caught.value)
    assert file.name in said and "; restore that from a copy, or remove the gallery" in said
    assert "launch.index" in said and "run the command again" not in said
    assert not re.search(r"cargo|\.rs\b|\n", said)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            "lance error: IO: Permission denied (os error 13), /root/.cargo/x/src/a.rs:1:2",
            "permissions",
        ),
        ("lance error: Read-only file system (os error 30)", "permissions"),
        (
            "lance error: odd, /root/.cargo/registry/lance-1/src/a.rs:12:3\nmore",
            "(lance error: odd)",
        ),
    ],
)
def test_other_reasons_are_short_and_have_a_remedy(reason, said):
    with pytest.raises(OSError, match=r"^/g .*; ") as caught, store.storage_errors("/g"):
        raise RuntimeError(reason)
    assert said in str(caught.value) and "cargo" not in str(caught.value)
