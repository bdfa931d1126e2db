"""What does not fit its type is damaged and named, and no reader meets a wrong type."""

import pytest

from hankelboard.app.data import runs as data
from tests.wrong_types import Victim, each_fitting, look, odd_lines, variants


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    return Victim(tmp_path_factory.mktemp("runs"))


@pytest.fixture(autouse=True)
def here(victim, monkeypatch):
    monkeypatch.setenv("HANKELBOARD_RUNS", str(victim.run.paths.root.parent))
    monkeypatch.setattr(data, "PATIENCE_S", 0.0)


def test_the_run_itself_fits(victim):
    look(victim)
    assert [record for kind in victim.kinds() for record in victim.records(kind) if kind.misfit(record)] == []
    summary = data.whole_summary(victim.run.id)
    assert summary["damaged"] == {} and summary["problem"] == ""


def test_each_odd_value_fits_or_is_named(victim):
    """Named by the key that was changed, or by one that depends on it; never by an exception."""
    named = 0
    for kind in victim.kinds():
        for record in victim.records(kind):
            for what, changed in variants(record):
                problem = kind.misfit(changed)
                named += bool(problem)
                assert not problem or ": " in problem, (kind.file.name, what, problem)
    assert named > 3_000


@pytest.mark.parametrize("place", [0, 8, 12])
def test_no_reader_ends_in_a_traceback(victim, place):
    """All files at once hold what is odd and fits, or lines that do not; tests/soak.py looks at each."""
    odd = {kind.file: changed for kind, _, changed in list(each_fitting(victim))[place::7]}
    try:
        for kind in victim.kinds():
            if kind.is_journal:
                victim.put(kind, odd_lines(victim, kind, place))
            elif kind.file in odd:
                victim.put(kind, [odd[kind.file]])
        look(victim, drawn=False)
        journals = {kind.file.name for kind in victim.kinds() if kind.is_journal}
        assert data.whole_summary(victim.run.id)["damage"].keys() == journals
    finally:
        for kind in victim.kinds():
            victim.restore(kind)
