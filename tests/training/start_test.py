"""Start values of folders of the Hugging Face hub, and with an embedding; launch's tests have those of files."""

import pytest

from dsf_jax.training.checkpoints import save_model
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.start import loss_note, ported, rough_start, starting_point
from tests.models.hugging_face_folders import write_folder


@pytest.fixture
def folder(tmp_path):
    return str(write_folder(tmp_path / "clip", "clip"))


def test_a_folder_says_which_backbone_it_is(folder):
    model, _ = ported(folder, None, num_classes=None, partial=False, seed=0)
    assert model.config.backbone == "clip"
    with pytest.raises(ValueError, match="holds clip weights, expected siglip; omit --backbone"):
        ported(folder, "siglip", num_classes=None, partial=False, seed=0)


def test_what_is_said_of_files_only(folder):
    with pytest.raises(ValueError, match="holds no classes; omit --num_classes"):
        ported(folder, None, num_classes=7, partial=False, seed=0)
    with pytest.raises(ValueError, match=r"is read completely .* omit --partial"):
        ported(folder, None, num_classes=None, partial=True, seed=0)


def test_a_family_has_no_random_start():
    with pytest.raises(
        ValueError, match=r"backbone=clip is a family .*port_weights --source=FOLDER"
    ):
        start("clip", "softmax", None)


def start(backbone, loss, embedding, init="random"):
    return starting_point(
        init, backbone, resizing=None, pen=None, loss=loss, embedding=embedding, seed=0
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "embedding", "dimension"),
    [("softmax", None, 0), ("softmax", 0, 0), ("cosine", None, 512), ("cosine+contrastive", 9, 9)],
)
def test_a_network_gets_the_embedding_that_its_loss_needs(loss, embedding, dimension):
    model = start("two_layers", loss, embedding)
    assert model.config.embedding == dimension
    assert ("class_vectors" in model.params) == bool(dimension)


def test_a_checkpoint_keeps_its_embedding(tmp_path):
    save_model(tmp_path, start("two_layers", "cosine", 9))
    assert start("two_layers", "contrastive", None, str(tmp_path)).config.embedding == 9
    assert start("two_layers", "softmax", 0, str(tmp_path)).config.embedding == 0
    with pytest.raises(
        ValueError, match=r"one of 9; take one of cosine, cosface, contrastive, .* embedding=0"
    ):
        start("two_layers", "softmax", None, str(tmp_path))


def test_a_backbone_is_of_random_values_or_what_the_checkpoint_holds(tmp_path):
    save_model(tmp_path, start("two_layers", "softmax", None))
    for backbone in (None, "two_layers"):
        assert start(backbone, "softmax", None, str(tmp_path)).config.backbone == "two_layers"
    with pytest.raises(
        ValueError, match="holds parameters of two_layers, expected tiny; omit --back"
    ):
        start("tiny", "softmax", None, str(tmp_path))


def test_a_loss_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="loss=cosine shapes an embedding, and embedding=0"):
        start("two_layers", "cosine", 0)
    with pytest.raises(ValueError, match="loss='hinge' is unknown"):
        start("two_layers", "hinge", None)


def test_an_embedding_that_starts_at_random_needs_no_warm_up():
    model = start("two_layers", "cosine", None)
    fresh = model.config._replace(fresh_layers=("name", "class_vectors"))
    config = TrainConfig(loss="cosine")
    assert rough_start(config, model.replace(config=fresh)) is None
    assert "eye, name" in rough_start(config, model)


def test_what_trains_no_classifier_says_so():
    assert "trains no classifier" in loss_note("contrastive")
    assert loss_note("cosine") is None
