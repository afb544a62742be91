"""What a card says of held-out data: drawings that are sketches are the queries, edge maps are not."""

import numpy as np
import pytest

from dsf_jax.data.mixtures import Count, Examples, Mixture
from dsf_jax.evaluation.cards import held_out_score
from tests.images.drawn import random_points
from tests.training import tiny


class Held(list):
    """Held-out records of one domain."""

    def __init__(self, domain, records):
        super().__init__(records)
        self.domain = domain


def joined(*sets):
    """The records of some sets as a mixture has them, of three classes in turn."""
    rows = [np.arange(len(own)) for own in sets]
    return Examples(sets, rows, [own % 3 for own in rows])


@pytest.fixture(scope="module")
def held():
    rng = np.random.default_rng(0)
    photos = [{"image": rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)} for _ in range(6)]
    drawn = {"sketch": 5, "edge": 7}
    drawings = {
        domain: Held(domain, [{"points": random_points(rng, 99)} for _ in range(count)])
        for domain, count in drawn.items()
    }
    return drawings | {"photo": Held("photo", photos)}


def score(held, *domains):
    counts = tuple(Count(f"zoo/{domain} [test]", domain, (2, 2, 2), ()) for domain in domains)
    drawings = joined(*(held[domain] for domain in domains if domain != "photo"))
    return held_out_score(
        tiny.start_model(), Mixture(("ant", "bee", "cat"), drawings, joined(held["photo"]), counts)
    )


@pytest.mark.slow
def test_edge_maps_do_not_count_as_sketches(held):
    found = score(held, "sketch", "photo", "edge")
    assert found == score(held, "sketch", "photo")
    assert (found.queries, found.gallery) == (5, 6)
    assert (found.sketches, found.photos) == (("zoo/sketch [test]",), ("zoo/photo [test]",))


def test_edge_maps_alone_are_no_score(held):
    assert score(held, "edge", "photo") is None
