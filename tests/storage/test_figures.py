"""Figures for people, at every border where rounding could make them say something else."""

import pytest

from hankelboard.storage.figures import fixed, percent, points, seconds, significant


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0, "0.00 %"), (-0.0, "0.00 %"), (1, "100.00 %"), (-1, "−100.00 %"), (0.5, "50.00 %"),
        (0.99995, "99.995 %"), (0.99994, "99.99 %"), (0.999996, "99.9996 %"), (-0.999996, "−99.9996 %"),
        (1.000004, "100.0004 %"), (0.9999, "99.99 %"),
        (0.00001, "0.001 %"), (-0.00001, "−0.001 %"), (0.00004999, "0.005 %"), (0.00005, "0.01 %"),
        (1e-9, "1e-07 %"), (0.1 + 0.2 - 0.3, "0.00 %"), (sum([0.1] * 10), "100.00 %"),
    ],
)  # fmt: skip
def test_a_share_is_all_or_nothing_only_where_it_is(share, told):
    assert percent(share) == told


def test_a_share_without_decimals_keeps_its_ends_apart():
    assert [percent(share, 0) for share in (0, 0.004, 0.4, 0.994, 0.996, 1)] == [
        "0 %", "0.4 %", "40 %", "99 %", "99.6 %", "100 %"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("difference", "told"),
    [
        (-0.0031, "−0.31"), (0, "+0.00"), (-0.0, "+0.00"), (-0.00001, "−0.001"), (0.00001, "+0.001"),
        (0.1 + 0.2 - 0.3, "+0.00"), (-0.00005001, "−0.01"),
    ],
)  # fmt: skip
def test_a_difference_keeps_its_sign(difference, told):
    assert points(difference) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"), (-0.0, "0"), (0.1234, "0.1234"), (9999, "9,999"), (9999.4, "9,999"), (9999.7, "10,000"),
        (-9999.7, "−10,000"), (10_000, "10,000"), (12_345.6, "12,346"), (999_949, "999,949"),
        (999_999.4, "999,999"), (999_999.7, "1.00e+06"), (1e6, "1.00e+06"), (0.001, "0.001"),
        (0.0009994, "9.99e-04"), (0.0009999, "0.0009999"), (0.00099999, "0.001"), (1234.4, "1,234"),
        (1.2e-5, "1.20e-05"), (-1.2e-5, "−1.20e-05"), (999.96, "1,000"), (1e300, "1.00e+300"),
    ],
)  # fmt: skip
def test_significant_digits_at_every_change_of_form(value, told):
    assert significant(value) == told


def test_ten_to_the_fourth_is_never_written_as_a_power():
    for digits in (2, 3, 4):
        for value in (10**digits - 0.3, 10**digits - 0.5, 10**digits, 10**digits + 0.4):
            assert "e" not in significant(value, digits), (digits, value)


def test_seconds_and_fixed_decimals_at_their_borders():
    assert [seconds(value) for value in (0, 0.04, 0.05, 99.94, 99.96, 100, 1234.5)] == [
        "0.0 s", "0.04 s", "0.1 s", "99.9 s", "100 s", "100 s", "1,234 s"
    ]  # fmt: skip
    assert [fixed(value, 3) for value in (-0.0, -0.0001, 0.0004, 0.0005001)] == [
        "0.000", "−0.0001", "0.0004", "0.001"
    ]  # fmt: skip
