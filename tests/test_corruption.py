"""A share of tests/corruption_sweep.py: each place once, each corruption somewhere."""

import contextlib
import io
import threading

import pytest

from tests.corruption_sweep import ODD, Sweep
from tests.waiting import PATIENCE_S

COMMANDS = ("runs", "show", "verify", "checkpoints", "send", "rollback")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANKELBOARD_RUNS", str(folder / "runs"))
        with contextlib.redirect_stdout(io.StringIO()):
            sweep = Sweep(folder)
        yield sweep


@pytest.fixture
def sweep(built):
    built.failures.clear()
    built.counts.clear()
    return built


def test_each_place_once_in_another_way(sweep):
    looks = {what: call for what, call in sweep.commands() if what.split()[1] in COMMANDS}
    page = dict(sweep.pages())["page run"]
    by_place = {}
    for place, name, put in sweep.cases():
        if put in ODD:
            by_place.setdefault(place, []).append((name, put))
    for number, (place, cases) in enumerate(by_place.items()):
        more = [{"worker": sweep.worker}, {"page run": page}, {}, {}][number % 4]
        with contextlib.redirect_stdout(io.StringIO()):
            sweep.look({**looks, **more}, place, *cases[(3 * number) % len(cases)])
    assert sweep.failures == []
    assert sweep.counts["command"] > 150 and sweep.counts["worker"] > 5 and sweep.counts["page"] > 5


def test_the_sweep_sees_what_goes_wrong(sweep, monkeypatch):
    case = next(case for case in sweep.cases(["log.txt"]) if case[1] == "link_to_file")
    enough = threading.Event()
    looks = {
        "raises": lambda paths: 1 / 0,
        "writes": lambda paths: paths.log.write_bytes(b"x") and "",
        "hangs": lambda paths: enough.wait(PATIENCE_S) and "",
    }
    monkeypatch.setattr("tests.corruption_sweep.LIMIT_S", 1.0)
    sweep.look(looks, *case)
    enough.set()
    assert "ZeroDivisionError" in sweep.failures[0] and "TOUCHED" in sweep.failures[1]
    assert "HANGS" in sweep.failures[2]
