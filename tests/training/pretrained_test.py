"""Folders that travel: equal to what was saved, looked into by others, fetched from a server here."""

import functools
import http.server
import json
import threading

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dsf_jax.data.files import user_cache
from dsf_jax.export.load import file_digest
from dsf_jax.models.model import with_embedding
from dsf_jax.models.model_card import FeatureScore, ModelCard, RetrievalScore, TrainingSet
from dsf_jax.training.checkpoints import save_model
from dsf_jax.training.model_sources import kind_of, open_model
from dsf_jax.training.pretrained import CONFIG, FILES, WEIGHTS, from_pretrained, save_pretrained
from tests import backbones  # noqa: F401  # registers them
from tests.training.tiny import start_model

SCORE = RetrievalScore(
    ("tu|berlin/sketch [test]",), ("sketchy/photo [test]",), 90, 356, 45,
    (FeatureScore("L7", 0.25, 0.125), FeatureScore("L1", 0.5, None)),
)  # fmt: skip
CARD = ModelCard((TrainingSet("openmoji/sketch [train]", "sketch", 1043),), 5, (SCORE,), "L7")


@pytest.fixture
def model():
    return start_model().replace(card=CARD)


@pytest.fixture
def folder(model, tmp_path):
    save_pretrained(tmp_path / "my model", model, licence="cc-by-sa-4.0")
    return tmp_path / "my model"


def rewritten(folder, **changes):
    content = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(content))


def test_what_was_saved_is_read(model, folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for read in (from_pretrained(folder), open_model(folder)):
        assert read.digest() == model.digest()
        assert read.config == model.config and read.card == model.card
    tensors = load_file(folder / WEIGHTS)
    np.testing.assert_array_equal(tensors["fc8/kernel"], model.params["fc8"]["kernel"])


def test_an_embedding_travels_too(model, tmp_path):
    embedded = with_embedding(model, 6, seed=0)
    save_pretrained(tmp_path / "one", embedded)
    read = from_pretrained(tmp_path / "one")
    assert read.digest() == embedded.digest() and read.config.embedding == 6


def test_the_card_says_data_measures_and_licence(folder):
    text = (folder / "README.md").read_text()
    _, metadata, body = text.split("---\n", 2)
    assert "license: cc-by-sa-4.0" in metadata and "library_name: dsf_jax" in metadata
    assert "| openmoji/sketch [train] | sketch | 1,043 |" in body
    assert "## Retrieval: tu berlin/sketch [test] among sketchy/photo [test]" in body
    assert "| L7 | 0.250 | 0.125 |" in body and "| L1 | 0.500 |  |" in body
    assert body.rstrip().endswith("cc-by-sa-4.0")


def test_the_card_of_a_network_that_nothing_is_known_of(tmp_path):
    save_pretrained(tmp_path / "one", start_model())
    text = (tmp_path / "one" / "README.md").read_text()
    assert "\nNothing is known of what this network was trained on, or" in text


def test_nothing_is_overwritten_and_nothing_half_stays(model, folder, tmp_path):
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        save_pretrained(folder, model)
    with pytest.raises(ValueError, match="licence='CC BY' is no SPDX name"):
        save_pretrained(tmp_path / "other", model, licence="CC BY")
    model.params["fc8"]["kernel"] = np.full_like(model.params["fc8"]["kernel"], np.nan)
    with pytest.raises(ValueError, match="fc8/kernel has values that are not finite"):
        save_pretrained(tmp_path / "other", model)
    assert [path.name for path in tmp_path.iterdir()] == ["my model"]


def test_a_damaged_folder_is_named(folder, model):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"model\.safetensors has the SHA-256 .*fetch the folder"):
        from_pretrained(folder)
    (folder / WEIGHTS).write_bytes(content)
    rewritten(folder, model=model.config._replace(class_names=("a", "b")).to_json())
    with pytest.raises(ValueError, match=r"fc8/bias is \(\(5,\), 'float32'\), expected \(\(2,\)"):
        from_pretrained(folder)
    rewritten(folder, model={})
    with pytest.raises(ValueError, match="is damaged"):
        from_pretrained(folder)
    rewritten(folder, format="dsf_jax model, version 2")
    for read in (from_pretrained, open_model):
        with pytest.raises(
            ValueError, match=r"of the format 'dsf_jax model, version 2'.*update dsf_jax"
        ):
            read(folder)
    assert kind_of(folder) == "pretrained"
    (folder / CONFIG).write_text("[" * 99_999)
    with pytest.raises(ValueError, match=r"config\.json: is damaged .*; fetch the folder again"):
        open_model(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": None}, {"sha256": {}}, {"card": None}, {"card": {"retrieval": [[1, 2]]}}, {"model": [1]},
        {"model": {"size": "5"}}, {"model": {"size": -1}}, {"model": {"backbone": ["tiny"]}},
        {"model": {"embedding": "x"}},
    ],
)  # fmt: skip
def test_values_of_another_kind_are_one_line(changes, folder, model):
    if isinstance(changes.get("model"), dict):
        changes = {"model": model.config.to_json() | changes["model"]}
    rewritten(folder, **changes)
    with pytest.raises(ValueError, match=r"my model is damaged \(.*\); fetch the folder again$"):
        open_model(folder)


def test_kinds(folder, model, tmp_path):
    save_model(tmp_path / "run", model)
    assert kind_of(folder) == "pretrained" and kind_of(tmp_path / "run") == "checkpoint"


@pytest.fixture
def address(folder, tmp_path, monkeypatch):
    """A server of the folder; the user's cache is another one than ever."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Says nothing."""

    def do_GET(self):
        """Knows no empty part of a path, as many servers."""
        if "//" in self.path:
            self.send_error(404)
        else:
            super().do_GET()


def test_a_folder_is_fetched_once(address, folder, model):
    source = f"{address}#sha256={file_digest(folder / CONFIG)}"
    assert open_model(source).digest() == model.digest()
    (folder / WEIGHTS).unlink()
    assert open_model(source).digest() == model.digest()


def test_an_address_with_a_slash_and_a_digest_in_capitals(address, folder, model):
    source = f"{address}/#sha256={file_digest(folder / CONFIG).upper()}"
    assert open_model(source).digest() == model.digest()


def test_what_is_not_what_was_promised_is_not_kept(address, folder):
    with pytest.raises(ValueError, match=r"needs the SHA-256 of its config\.json"):
        open_model(address)
    digest = file_digest(folder / CONFIG)
    with pytest.raises(ValueError, match=f"its sha256 is {digest}, expected {'0' * 64}"):
        open_model(f"{address}#sha256={'0' * 64}")
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"model\.safetensors: its sha256 is"):
        open_model(f"{address}#sha256={digest}")
    assert not (user_cache() / "models" / digest).exists()
    for other in ("http://example.org/x", "ftp://127.0.0.1/x", "file:///x"):
        with pytest.raises(ValueError, match="is no https:// address"):
            open_model(f"{other}#sha256={digest}")


def test_other_files_are_no_model(address, folder):
    save_file({"x": np.zeros(1, np.float32)}, folder / "x.safetensors")
    rewritten(folder, sha256={"x.safetensors": "0" * 64})
    with pytest.raises(ValueError, match="is of another kind of folder; correct the address"):
        open_model(f"{address}#sha256={file_digest(folder / CONFIG)}")
