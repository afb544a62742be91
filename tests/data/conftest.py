"""Prepared records of the zoo, which tests of mixtures and class maps share."""

from pathlib import Path
from typing import Any

import pytest

from dsf_jax.data.mixtures import training_fields
from dsf_jax.data.records import open_records
from tests.data.zoo import prepare_zoo


@pytest.fixture(scope="session")
def zoo_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the prepared zoo."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare_zoo(folder)
    return folder


@pytest.fixture
def zoo(zoo_dir: Path) -> Any:
    """A function that opens its data sets of some domains."""

    def records(*domains: str, split: str = "train") -> list[Any]:
        return [
            open_records(zoo_dir, f"zoo/{domain}", split, fields=training_fields(domain))
            for domain in domains
        ]

    return records
