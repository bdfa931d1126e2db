"""Words of times and sizes, at every border where rounding could make them say something else."""

from datetime import UTC, datetime

import pytest

from hankelboard.app.words import labels


class Christmas(datetime):
    """A clock that stands still at noon of 25 December 2026."""

    @classmethod
    def now(cls, tz=None):
        return datetime(2026, 12, 25, 12, 0, 0, tzinfo=UTC).astimezone(tz)


@pytest.fixture
def christmas(monkeypatch):
    monkeypatch.setattr(labels, "datetime", Christmas)


@pytest.mark.parametrize(
    ("t", "zone", "told"),
    [
        ("2026-12-25T16:45:03Z", None, "16:45:03"),
        ("2026-12-24T16:45:03Z", None, "24 Dec 16:45"),
        ("2025-12-25T16:45:03Z", None, "25 Dec 2025 16:45"),
        ("2026-12-31T23:30:00Z", "Europe/Berlin", "1 Jan 2027 00:30"),
        ("0001-01-01T00:00:00Z", "America/New_York", "1 Jan 1 00:00"),
        ("9999-12-31T23:59:59Z", "Asia/Tokyo", "31 Dec 9999 23:59"),
        ("no time", None, "–"),
    ],
)
def test_a_moment_says_the_year_where_it_is_another(christmas, t, zone, told):
    assert labels.moment(t, zone) == told


@pytest.mark.parametrize("t", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"])
def test_an_age_of_any_year_is_told(t):
    assert labels.age(t).endswith("d ago") or labels.age(t) == "just now"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0 B"), (300, "300 B"), (999, "999 B"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"),
        (999_949_999, "999.9 MB"), (999_950_000, "1.0 GB"), (999_950_000_000, "1.0 TB"),
    ],
)  # fmt: skip
def test_sizes_never_reach_a_thousand_of_their_unit(value, told):
    assert labels.size(value) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (0.04, "0.04 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"),
     (3599.6, "1 h 00 min"), (86_399.6, "1 d 0 h")],
)  # fmt: skip
def test_durations_at_their_borders(seconds, told):
    assert labels.duration(seconds) == told


def test_other_figures_of_pages_keep_what_tells_them_apart():
    assert labels.percent(0.999996) == "99.9996 %" and labels.percent(-0.00001) == "−0.001 %"
    assert labels.number(9999.7) == "10,000" and labels.number(float("nan")) == "–"
    assert labels.points(-1e-19) == "+0.00 points"
    assert labels.interval([-0.00001, 0.002], 100) == "−0.001 to +0.20"
    assert labels.seconds_per_step(0.99949) == "999 ms" and labels.seconds_per_step(1234.5) == "1,234 s"
