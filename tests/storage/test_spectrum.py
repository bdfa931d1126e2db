import pytest
from hypothesis import given
from hypothesis import strategies as st

from hankelboard.storage import spectrum

importances = st.lists(st.floats(1e-12, 1e3), min_size=1, max_size=50).map(lambda v: sorted(v, reverse=True))


@given(importances, st.floats(0, 0.999))
def test_the_rank_is_the_smallest_that_keeps_to_the_tolerance(values, tolerance):
    shares = spectrum.discarded_shares(values)
    rank = spectrum.rank_for_tolerance(shares, tolerance)
    assert 1 <= rank <= len(values) and shares[rank] <= tolerance
    assert rank == 1 or shares[rank - 1] > tolerance


@given(importances)
def test_evenness_lies_between_one_state_and_all_alike(values):
    assert -1e-9 <= spectrum.evenness(values) <= 1 + 1e-9
    assert spectrum.evenness([3.0 * value for value in values]) == pytest.approx(
        spectrum.evenness(values), abs=1e-9
    )


@pytest.mark.parametrize(("values", "expected"), [
    ([7.0], 0.0), ([2.0] * 5, 1.0), ([1.0, 0.0, 0.0], 0.0), ([1.0] * 3 + [0.0] * 2, 0.5),
])  # fmt: skip
def test_evenness_counts_the_states_that_matter(values, expected):
    assert spectrum.evenness(values) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [float("nan")], [1.0, float("inf")], [1.0, -1.0]])
def test_nothing_is_said_where_nothing_can_be(values):
    with pytest.raises(ValueError, match=r"state|sum to 0|finite"):
        spectrum.discarded_shares(values)
    with pytest.raises(ValueError, match=r"state|sum to 0|finite"):
        spectrum.evenness(values)


def test_tolerance_one_would_cut_everything_and_is_refused():
    with pytest.raises(ValueError, match="below 1"):
        spectrum.rank_for_tolerance([1.0, 0.0], 1.0)
