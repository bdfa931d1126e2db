"""Of a trainer that was taken for dead and wakes, and the one that went on, only one is true."""

import sys

import pytest

from tests.trainer import frozen
from tests.trainer.frozen import KEYS, KINDS, Freezes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize("kind", ["event", "checkpoint"])
def test_frozen_between_look_and_write_it_changes_nothing_that_counts(small_run, monkeypatch, kind):
    frozen.wake_after_another(small_run(**KEYS), Freezes(kind, 3), monkeypatch)


def test_every_kind_of_write_has_a_place_where_it_freezes():
    assert all(hasattr(Freezes, f"_{kind}") for kind in KINDS)
