"""A sample of the kill sweep; `make soak` does all of it."""

import pytest

from tests.trainer.kill_sweep import Story


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return Story(tmp_path_factory.mktemp("story"))


def test_killed_around_any_change_of_the_disk(story):
    assert story.check_all(story.chosen(8, seed=1)) == 8


def test_killed_at_any_instant(story):
    assert story.check_all(story.instants(4, seed=2)) >= 1  # some may be over just before
