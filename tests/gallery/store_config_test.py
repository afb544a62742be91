"""Galleries of today and of earlier versions: read, kept up, or refused with what to do."""

import io
import json

import numpy as np
import pytest

from dsf_jax.gallery.embedder import network_embedder
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.gallery.projection import Projection
from dsf_jax.gallery.store_config import StoreConfig
from dsf_jax.models.model import _values_digest
from tests.gallery.gallery_test import feature
from tests.retrieval.gallery_member import EMBEDDER, D, save
from tests.training.tiny import start_model


def first_format(config, whitened):
    """What the first format wrote of a gallery's vectors."""
    digest, layer, backbone, *others, _ = config  # it knew no run of the network
    names = ("features", "dimensions", "dtype")
    first = {"format": 1, "fingerprint": digest, "layer": layer, "variant": backbone}
    return json.dumps(first | dict(zip(names, others, strict=True)) | {"whitened": whitened})


def first_projection(projection):
    """What the first format wrote of a projection."""
    file = io.BytesIO()
    np.savez(file, **projection._asdict(), whitened=np.asarray(False))
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [0, 12])
def test_a_gallery_of_the_first_format_is_read_and_kept_up(tmp_path, monkeypatch, dimensions):
    for seed in range(30):
        save(tmp_path / "photos" / f"{seed:02d}.png", seed)
    with monkeypatch.context() as patch:
        patch.setattr(StoreConfig, "to_json", lambda config: first_format(config, False))
        patch.setattr(Projection, "to_bytes", first_projection)
        former = Gallery.create(tmp_path / "gallery", EMBEDDER, dimensions=dimensions)
        former.sync(tmp_path / "photos")
    gallery = Gallery.open(tmp_path / "gallery", EMBEDDER)
    assert gallery.config == (EMBEDDER.digest, "L6+L7", "", D, dimensions or D, "float32", "")
    assert gallery.search(feature(7), 5) == former.search(feature(7), 5)
    assert gallery.search(feature(7), 1)[0][0].picture.path.endswith("/07.png")
    save(tmp_path / "photos/new.png", 99)
    assert gallery.sync(tmp_path / "photos")[:4] == (1, 0, 0, 30)
    assert gallery.search(feature(99), 1)[0][0].picture.path.endswith("/new.png")


def test_a_gallery_of_whitened_vectors_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(StoreConfig, "to_json", lambda config: first_format(config, True))
        with pytest.raises(ValueError, match=r"holds whitened vectors, which .*; make the gallery"):
            Gallery.create(tmp_path / "gallery", EMBEDDER, dimensions=12)
    with pytest.raises(ValueError, match=r"gallery holds whitened vectors, which .*; make the"):
        Gallery.open(tmp_path / "gallery", EMBEDDER)


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"format": 3}', '{"format": 2, "x": 1}'])
def test_a_format_that_is_unknown_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setattr(StoreConfig, "to_json", lambda config: text)
    with pytest.raises(ValueError, match=r"holds no gallery of this program or format; choose"):
        Gallery.create(tmp_path / "gallery", EMBEDDER)


def test_a_gallery_names_its_network_by_the_digest_of_today_or_of_before(tmp_path, monkeypatch):
    model, other = start_model(), start_model(size=64)
    former = _values_digest(model.params)
    assert len(former) == 16 and former != model.digest()
    own = network_embedder(model, batch_size=2)
    Gallery.create(tmp_path / "former", own._replace(digest=former))
    assert Gallery.open(tmp_path / "former", own).config.digest == former
    Gallery.create(tmp_path / "today", own)
    assert Gallery.open(tmp_path / "today", own).config.digest == model.digest()
    named = network_embedder(model, batch_size=2, name="runs/own")
    Gallery.create(tmp_path / "named", named)
    with pytest.raises(ValueError, match=r"of the network runs/own, not L7 of runs/other; name"):
        Gallery.open(tmp_path / "named", network_embedder(other, name="runs/other"))
    with pytest.raises(
        ValueError, match=r"runs/own of the digest \w{12}, not L7 of runs/own of the dig"
    ):
        Gallery.open(tmp_path / "named", network_embedder(other, name="runs/own"))
    for name in ("former", "today"):
        with pytest.raises(ValueError, match=r"features of the network .*; name the checkpoint"):
            Gallery.open(tmp_path / name, network_embedder(other))
    with pytest.raises(
        ValueError, match=r"holds L7 .* runs/own of .*, not L8 of runs/own of .*; n"
    ):
        Gallery.open(tmp_path / "named", network_embedder(model, layer="L8", name="runs/own"))
