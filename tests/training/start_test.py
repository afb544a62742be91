"""Start values of folders of the Hugging Face hub; launch's tests have those of files."""

import pytest

from dsf_jax.training.start import ported, starting_point
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
        starting_point("random", "clip", resizing=None, pen=None, seed=0)
