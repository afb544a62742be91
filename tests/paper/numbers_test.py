"""The paper's numbers as printed."""

import itertools

from dsf_jax.paper import numbers


def test_the_papers_numbers_are_those_printed():
    """Typed from the paper a second time."""
    printed = itertools.chain(*numbers.TABLE_1.values())
    assert [value for value in printed if value is not None] == [
        .690, .710, .747, .773, .738, .767, .743, .771, .745, .768,
    ]  # fmt: skip
    assert list(numbers.TABLE_2.values()) == [0.732, 0.56, 0.615, 0.658, 0.689, 0.749]
    assert list(itertools.chain(*numbers.TABLE_3.values())) == [
        .2757, .2831, .2981, .4603, .4403, .4578, .4607, .4615, .4773,
    ]  # fmt: skip
    assert list(numbers.TABLE_3_OTHERS.values()) == [0.277, 0.313, 0.289, 0.336, 0.352]
    assert numbers.FIGURE_4 == {"car": 0.90, "bicycle": 0.76}
