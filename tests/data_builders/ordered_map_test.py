"""Work on all cores keeps the order, passes errors on, and does not run away from its reader."""

import pytest

from data_builders.ordered_map import ordered_map


class Counted(list):
    """Notes how far its items were taken."""

    taken = 0

    def __getitem__(self, index):
        self.taken = max(self.taken, index.stop)
        return super().__getitem__(index)


def test_results_are_in_order_and_made_little_ahead_of_the_reader():
    items = Counted(range(2000))
    results = ordered_map(str, items, processes=2)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    assert items.taken <= 200
    assert list(results) == [str(i) for i in range(3, 2000)]


def test_few_items_start_no_processes():
    seen = []
    assert list(ordered_map(seen.append, range(5))) == [None] * 5 and seen == list(range(5))


def test_the_first_error_is_raised_as_it_is_in_its_place():
    results = ordered_map(int, ["1"] * 40 + ["x"] + ["1"] * 400, processes=2)
    assert [next(results) for _ in range(32)] == [1] * 32
    with pytest.raises(ValueError, match="invalid literal"):
        list(results)
    assert list(ordered_map(int, [], processes=2)) == []
