"""One network, one gallery and one server for all tests of the page."""

import pytest

from dsf_jax.app.searcher import Searcher
from dsf_jax.app.server import create_app
from tests.app import made


@pytest.fixture(scope="session")
def weights():
    return made.params()


@pytest.fixture(scope="session")
def searcher(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    gallery = made.gallery(
        tmp_path_factory.mktemp("gallery") / "gallery", weights, made.pictures(folder)
    )
    return Searcher(made.CARD, weights, gallery, layer=made.LAYER)


@pytest.fixture(scope="session")
def address(searcher):
    with made.serving(create_app(searcher)) as address:
        yield address
