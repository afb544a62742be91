"""One network, whatever it is read from; and its words."""

import numpy as np
import pytest

from dsf_jax.training.checkpoints import save_model
from dsf_jax.training.model_sources import has_words, open_model, open_words
from dsf_jax.training.start import ported
from tests.models.hugging_face_folders import speaking_folder, write_folder
from tests.training.tiny import start_model


def test_a_folder_is_the_network_that_is_ported_of_it(tmp_path):
    folder = write_folder(tmp_path / "clip", "clip")
    model = open_model(folder)
    expected, _ = ported(str(folder), None, num_classes=None, partial=False, seed=0)
    assert model.digest() == expected.digest() and model.config == expected.config


def test_a_checkpoint_is_read_as_ever(tmp_path):
    save_model(tmp_path / "run", start_model())
    assert open_model(tmp_path / "run").digest() == start_model().digest()
    with pytest.raises(FileNotFoundError):
        open_model(tmp_path / "none")


def test_words_are_of_folders_and_of_their_own_space(tmp_path):
    folder = speaking_folder(tmp_path / "siglip", "siglip")
    model = open_model(folder)
    assert has_words(folder, model, "pooled") and not has_words(folder, model, "patch mean")
    assert np.isfinite(open_words(folder, model, "pooled").embed("a cat")).all()
    with pytest.raises(ValueError, match="by 'patch mean', and words lie in the space of 'pooled'"):
        open_words(folder, model, "patch mean")
    save_model(tmp_path / "run", model)
    assert not has_words(tmp_path / "run", model, "pooled")
    with pytest.raises(ValueError, match="is a checkpoint, which has no text tower"):
        open_words(tmp_path / "run", model, "pooled")
