"""Rows in small: each checks itself against its peers as it is made, and would raise."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import shift

from dsf_jax.models.backbones import backbone_named
from dsf_jax.models.vit import architecture_of
from launch.benchmarks import drawings, forms, gallery, metrics, search, sketches, vit
from launch.benchmarks.work import PEERS, Setting

pytestmark = pytest.mark.slow

ALL = Setting(peers=frozenset(PEERS), small=True)
LINES = sketches.strokes()


def test_drawing_is_like_those_of_the_benchmark():
    points = sketches.unpadded(sketches.points_of(LINES))
    assert 3000 < len(points) < 4096
    assert sketches.pixels_of(LINES).shape == (1111, 1111)


@pytest.mark.parametrize("row", [drawings.resize, drawings.points])
def test_rows_of_a_drawing(row):
    pytest.importorskip("cv2", reason="OpenCV is a peer here")
    work, *drawn_with_a_pen = row(ALL)
    assert len(work.peers) == 2 and set(work.differences) == set(work.peers)
    assert work.moved > 0
    for work in drawn_with_a_pen:
        assert work.what == "pen" and set(work.peers) == {"OpenCV"} == set(work.differences)


def test_views_turned_or_moved_otherwise_are_told_apart():
    views = sketches.looped_views(sketches.unpadded(sketches.points_of(LINES)))
    assert sketches.lost_ink(views, views) == 0
    assert sketches.lost_ink(views, np.roll(views, 1, axis=0)) > 0.2
    moved = shift(views, (0, 3, 0), order=0, cval=255)
    assert sketches.lost_ink(views, moved) > 0.2


@pytest.mark.parametrize("row", [search.search, metrics.metrics])
def test_rows_of_searching_and_scoring(row):
    made = list(row(ALL))
    assert len(made) == 2
    for work in made:
        assert work.peers.keys() == work.differences.keys()
        assert work.peers


def test_forms_compute_the_same():
    """Each is compared with ours as it is made, value and gradients."""
    names = [work.what for work in forms.forms(ALL._replace(batch_size=1))]
    assert names == [f"form of {x}" for x in ("conv1", "conv2", "conv4", "top k")]


def test_peers_of_search_find_the_rows_themselves():
    gallery = np.concatenate(list(search.unit_vectors(np.random.default_rng(0), 100, 8)))
    distances, rows = search._numpy_search(gallery, 3)(gallery[:7])
    np.testing.assert_array_equal(rows[:, 0], np.arange(7))
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-6)


@pytest.mark.parametrize("network", ["AlexNet", "EfficientNet-Lite0"])
def test_torch_network_is_ours(network):
    """All layouts give our logits: a difference would have raised."""
    pytest.importorskip("torch", reason="torch is not installed: no peer to compare with")
    from launch.benchmarks.lite import lite0_forward
    from launch.benchmarks.network import forward

    row = {"AlexNet": forward, "EfficientNet-Lite0": lite0_forward}[network]
    (work,) = row(ALL._replace(batch_size=1))
    layouts = ["PyTorch NCHW", "PyTorch NHWC"]
    assert sorted(work.differences) == sorted(work.peers) == layouts


def test_torch_transformer_is_ours():
    pytest.importorskip("torch", reason="torch is not installed: no peer to compare with")
    (work,) = vit.vit_forward(ALL._replace(batch_size=2))
    assert list(work.differences) == list(work.peers) == ["PyTorch NHWC"]


@pytest.mark.parametrize(
    ("row", "what", "beside"),
    [
        (gallery.indexing, "indexing", "the network alone"),
        (gallery.watching, "watching", "the network alone"),
        (gallery.page_query, "page, a small network", "the network alone"),
    ],
)
def test_rows_of_a_gallery(row, what, beside):
    for work in row(Setting(small=True, batch_size=2)):
        assert work.what == what and list(work.peers) == [beside]
        for call in (work.ours, work.ours, work.peers[beside]):
            call()


def test_the_large_network_has_ninety_million_parameters():
    module = backbone_named("siglip", architecture_of(vit.LARGE)).build(1)
    picture = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), picture)
    assert 90e6 < sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) < 95e6
