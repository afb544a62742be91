"""Search against a NumPy brute force: integer vectors, whose distances float32 holds exactly."""

import itertools
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from dsf_jax.retrieval import euclidean
from dsf_jax.retrieval.euclidean import search, squared_lengths

pytestmark = pytest.mark.slow


def brute_force(queries: np.ndarray, gallery: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Float64, one query at a time, stable sort."""
    distances = np.stack(
        [((gallery.astype(np.float64) - q) ** 2).sum(1) for q in queries.astype(np.float64)]
    )
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


def integers(seed: int, *shape: int, low: int = -3, high: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)


def assert_equal_to_brute_force(queries, gallery, k, found) -> None:
    distances, indices = brute_force(np.asarray(queries), np.asarray(gallery), k)
    assert found.squared_distances.dtype == np.float32
    assert found.indices.dtype == np.int32
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.squared_distances, distances)


@hypothesis.given(
    q=st.integers(1, 7),
    n=st.integers(1, 70),
    d=st.sampled_from([1, 3, 8]),
    k=st.integers(1, 90),
    block=st.sampled_from([1, 7, 16, 64, 100]),
    query_block=st.sampled_from([1, 3, 8]),
    seed=st.integers(0, 99),
)
@hypothesis.settings(max_examples=15, derandomize=True)
def test_equals_brute_force_for_any_shape(q, n, d, k, block, query_block, seed) -> None:
    # Few values in few dimensions: ties and duplicates everywhere, also across the last place.
    queries, gallery = integers(seed, q, d), integers(seed + 1, n, d)
    for squares in (None, squared_lengths(gallery)):
        found = search(queries, gallery, k, squares=squares, block=block, query_block=query_block)
        assert_equal_to_brute_force(queries, gallery, k, found)


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, ml_dtypes.bfloat16], ids=["float16", "float32", "bfloat16"]
)
@pytest.mark.parametrize("kind", ["numpy", "unaligned", "jax", "memmap"])
def test_every_kind_of_gallery(dtype, kind: str, tmp_path: Path) -> None:
    queries, gallery = integers(0, 5, 16).astype(dtype), integers(1, 333, 16).astype(dtype)
    if kind == "memmap":
        path = tmp_path / "gallery.bin"
        gallery.tofile(path)
        held = np.memmap(path, dtype=dtype, mode="r", shape=gallery.shape)
    elif kind == "unaligned":
        spare = np.zeros(gallery.size + 1, dtype)
        held = spare[1:].reshape(gallery.shape)
        held[:] = gallery
    else:
        held = jnp.asarray(gallery) if kind == "jax" else gallery
    for q, squares in (
        (5, None),
        (5, squared_lengths(held)),
        (1, None),
        (1, squared_lengths(held)),
    ):
        found = search(queries[:q], held, 20, squares=squares, block=100)
        assert_equal_to_brute_force(queries[:q], gallery, 20, found)


def test_squared_lengths_are_those_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(euclidean, "BLOCK", 64)
    assert squared_lengths(integers(0, 0, 3)).shape == (0,)
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
        rows = integers(1, 333, 16).astype(dtype)
        wanted = (rows.astype(np.float64) ** 2).sum(axis=1)
        for held in (rows, jnp.asarray(rows)):
            squares = squared_lengths(held)
            assert squares.dtype == np.float32
            np.testing.assert_array_equal(squares, wanted)


@pytest.mark.parametrize("d", [100, 1024])
def test_duplicates_tie_bit_for_bit_wherever_they_stand(d: int) -> None:
    rng = np.random.default_rng(3)
    gallery = rng.standard_normal((3000, d), dtype=np.float32)
    copies = np.sort(rng.choice(3000, 200, replace=False))
    gallery[copies] = gallery[copies[0]]
    queries = gallery[copies[:9]] + 0.01 * rng.standard_normal((9, d), dtype=np.float32)
    for q, k, block in ((1, 200, 512), (9, 200, 700), (9, 7, 512), (9, 199, 4096), (9, 300, 512)):
        for squares in (None, squared_lengths(gallery)):
            found = search(queries[:q], gallery, k, squares=squares, block=block)
            ties = min(k, 200)
            np.testing.assert_array_equal(found.indices[:, :ties], np.tile(copies[:ties], (q, 1)))
            assert (found.squared_distances[:, :ties] == found.squared_distances[:, :1]).all()


def test_a_query_alone_and_among_others_gives_the_same_bits() -> None:
    rng = np.random.default_rng(5)
    queries = rng.standard_normal((3, 1000), dtype=np.float32)
    gallery = rng.standard_normal((700, 1000), dtype=np.float32)
    found = search(queries, gallery, 10, block=128)
    # Alone, it is measured against every row where squared lengths are not known.
    for i, squares in itertools.product(range(3), (None, squared_lengths(gallery))):
        alone = search(queries[i : i + 1], gallery, 10, squares=squares, block=128)
        np.testing.assert_array_equal(alone.indices[0], found.indices[i])
        np.testing.assert_array_equal(alone.squared_distances[0], found.squared_distances[i])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_distances_are_accurate_where_a_query_nearly_equals_a_row(scale: float) -> None:
    rng = np.random.default_rng(6)
    d = 1024
    gallery = (scale * (100 + rng.standard_normal((500, d)))).astype(np.float32)
    queries = gallery[:20] * np.float32(1 + 1e-5)
    found = search(queries, gallery, 3)
    exact = ((queries.astype(np.float64)[:, None] - gallery[found.indices]) ** 2).sum(-1)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(20))
    np.testing.assert_allclose(found.squared_distances, exact, rtol=(d + 2) * 2.0**-24)
    itself = search(gallery[:20], gallery, 1)
    np.testing.assert_array_equal(itself.squared_distances, np.zeros((20, 1)))


def test_rows_of_very_different_length_are_still_exact() -> None:
    gallery = integers(7, 800, 32) * 2.0 ** np.random.default_rng(7).integers(-9, 9, (800, 1))
    gallery = gallery.astype(np.float32)
    queries = gallery[::100] + np.float32(1)
    found = search(queries, gallery, 40, block=256)
    distances, indices = brute_force(queries, gallery, 40)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.squared_distances, distances, rtol=34 * 2.0**-24)


def test_the_bound_holds_with_room_to_spare() -> None:
    rng = np.random.default_rng(8)
    for d in (2, 300, 4096):
        queries = np.abs(rng.standard_normal((16, d), dtype=np.float32))
        rows = np.abs(rng.standard_normal((256, d), dtype=np.float32))
        start = euclidean._Candidates(
            np.full((16, 256), -np.inf, np.float32), np.zeros((16, 256), np.int32), np.int32(-1)
        )
        found = euclidean._absorb(start, queries, rows, euclidean._squares(rows), 0, 0)
        exact = ((queries.astype(np.float64)[:, None] - rows[np.asarray(found.indices)]) ** 2).sum(
            -1
        )
        below = exact + np.asarray(found.negated)
        norms = (queries.astype(np.float64) ** 2).sum(1)[:, None] + (rows**2).sum(1)[found.indices]
        slack = 2 * euclidean._roundoff(d) * norms
        assert (below > 0.5 * slack).all() and (below < 1.5 * slack).all()


def test_one_compiled_function_serves_every_block_of_galleries_of_like_size() -> None:
    queries = integers(9, 4, 5)
    search(queries, integers(10, 198, 5), 3, block=64)  # the start values, then the kept
    before = euclidean._absorb._cache_size()  # type: ignore[attr-defined]
    for n in (193, 200, 208, 258):  # all in blocks of 52
        search(queries, integers(10, n, 5), 3, block=64)
    assert euclidean._absorb._cache_size() == before  # type: ignore[attr-defined]


@hypothesis.given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**31))
@hypothesis.settings(max_examples=15, derandomize=True)
def test_the_largest_of_groups_are_the_largest(c: int, q: int, seed: int) -> None:
    """With many equal values, and so many fresh ones that groups are ranked first."""
    rng = np.random.default_rng(seed)
    best = -np.sort(-rng.integers(0, 9, (q, c)).astype(np.float32), axis=1)
    fresh = rng.integers(0, 9, (euclidean.GROUP * (c + 1), q)).astype(np.float32)
    values, places = map(np.asarray, euclidean._top(best, fresh))
    pool = np.concatenate([best, fresh.T], axis=1)
    np.testing.assert_array_equal(values, -np.sort(-pool, axis=1)[:, :c])
    np.testing.assert_array_equal(np.take_along_axis(pool, places, axis=1), values)
    assert all(len(set(row)) == c for row in places.tolist())


@pytest.mark.parametrize("d", [2, 16])  # crowds of equal distances, and few
def test_large_blocks_of_which_groups_are_ranked(d: int) -> None:
    queries, gallery = integers(5, 9, d), integers(6, 3000, d)
    found = search(queries, gallery, 5, block=1024, query_block=4)
    assert_equal_to_brute_force(queries, gallery, 5, found)


def test_memory_is_bounded_by_the_block(tmp_path: Path) -> None:
    # Every gallery read goes through __getitem__: none may ask for more than a block.
    class Watched(np.ndarray):
        largest = 0

        def __getitem__(self, key):
            rows = super().__getitem__(key)
            Watched.largest = max(Watched.largest, len(rows))
            return rows

    gallery = integers(11, 5000, 4).view(Watched)
    search(integers(12, 3, 4), gallery, 10, block=256)
    search(integers(13, 1, 4), gallery, 10, block=256)
    search(integers(13, 1, 4), gallery, 10, squares=np.zeros(5000, np.float32), block=256)
    assert 0 < Watched.largest <= 256


def test_no_queries_give_no_rows() -> None:
    found = search(np.empty((0, 4), np.float32), integers(0, 9, 4), 3)
    assert found.squared_distances.shape == found.indices.shape == (0, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e19])
def test_values_that_cannot_be_compared_are_named(bad: float) -> None:
    queries, gallery = integers(0, 3, 4), integers(1, 50, 4)
    broken = gallery.copy()
    broken[37, 2] = bad
    for few, squares in itertools.product((queries, queries[:1]), (None, squared_lengths(broken))):
        with pytest.raises(ValueError, match="gallery row 37 of 50 is not finite"):
            search(few, broken, 3, squares=squares, block=16)
    with pytest.raises(ValueError, match="queries row 1 of 3 is not finite"):
        search(np.where(np.arange(3)[:, None] == 1, np.float32(bad), queries), gallery, 3)


@pytest.mark.parametrize(
    ("queries", "gallery", "options", "message"),
    [
        ((2, 4), (5, 3), {}, r"queries \(2, 4\) and gallery \(5, 3\): expected one feature size"),
        ((2, 4), (0, 4), {}, r"at least one gallery row"),
        ((2, 0), (5, 0), {}, r"feature size above 0"),
        ((4,), (5, 4), {}, r"queries has shape \(4,\), expected 2 dimensions"),
        ((2, 4), (5, 4), {"k": 0}, r"k is 0, expected at least 1"),
        ((2, 4), (5, 4), {"block": 0}, r"block is 0, expected at least 1"),
        ((2, 4), (5, 4), {"query_block": -1}, r"query_block is -1"),
    ],
)
def test_wrong_arguments_are_refused(queries, gallery, options, message: str) -> None:
    arguments = {"k": 1, **options}
    with pytest.raises(ValueError, match=message) as error:
        search(np.ones(queries, np.float32), np.ones(gallery, np.float32), **arguments)
    assert "\n" not in str(error.value)


def test_squared_lengths_of_another_gallery_are_refused() -> None:
    with pytest.raises(ValueError, match=r"squares has shape \(4,\) for a gallery of 5 rows"):
        search(integers(0, 1, 3), integers(1, 5, 3), 1, squares=squared_lengths(integers(1, 4, 3)))


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_other_types_are_refused(dtype) -> None:
    with pytest.raises(ValueError, match=f"gallery is {np.dtype(dtype)}, expected float32"):
        search(integers(0, 2, 4), integers(0, 5, 4).astype(dtype), 1)


def test_a_gallery_split_over_devices_is_searched_whole() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("n",))
    gallery = integers(13, 64, 4)
    split = jax.device_put(
        gallery, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("n"))
    )
    queries = integers(14, 3, 4)
    assert_equal_to_brute_force(queries, gallery, 5, search(queries, split, 5, block=16))


@pytest.mark.parametrize(
    ("dtype", "known", "scanned"),
    [
        (np.float32, False, True),
        (np.float32, True, False),
        (np.float16, False, True),
        (np.float16, True, True),
    ],
)
def test_how_a_lone_query_is_searched(dtype, known: bool, scanned: bool, monkeypatch) -> None:
    """Bounds pay where squared lengths are known and no row has to be widened first."""
    scans = []
    scan = euclidean._scan
    monkeypatch.setattr(euclidean, "_scan", lambda *a: (scans.append(1), scan(*a)))
    rows = integers(1, 90, 4).astype(dtype)
    search(integers(0, 1, 4), rows, 3, squares=squared_lengths(rows) if known else None)
    search(integers(0, 2, 4), rows, 3)
    assert len(scans) == scanned
