"""Four processes that decide on one proposal at the same moment, a thousand times: one wins."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from hankelboard.storage import proposals
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
ROUNDS = 1_000
CHILD = """
import json, os, sys, time
from pathlib import Path
from hankelboard.storage import proposals
from hankelboard.storage.errors import AlreadyDecided
from hankelboard.storage.layout import RunPaths

paths, me, link, meet = RunPaths(Path(sys.argv[1])), sys.argv[2], os.link, False

def link_together(*arguments, **where):
    if meet:
        print("at the link", flush=True)
        sys.stdin.readline()
    return link(*arguments, **where)

os.link = link_together
print("ready", flush=True)
while line := sys.stdin.readline():
    order = json.loads(line)
    time.sleep(order.pop("wait_s"))
    meet = order.pop("meet")
    try:
        won = proposals.decide(paths, by=me, via="race", **order)
        answer = {"won": vars(won)}
    except AlreadyDecided as error:
        answer = {"lost": str(error)}
    except Exception as error:
        answer = {"broken": repr(error)}
    print(json.dumps(answer), flush=True)
"""
ORDERS = (
    {"verdict": "approve"},
    {"verdict": "reject", "reason": "no"},
    {"verdict": "approve", "ranks": [3]},
    {"verdict": "approve", "ranks": [1], "reason": "x" * 500},
)
NAMES = ("ada", "grace", "emmy", "policy:timeout")  # the deadline falls in the middle, and is one of them
VERBS = {"approve": "approved", "reject": "rejected"}


@pytest.fixture
def deciders(paths):
    """Four processes that decide as soon as they are told to."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(paths.root), NAMES[n]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=ROOT,
        )
        for n in range(4)
    ]  # fmt: skip
    for child in children:
        assert child.stdout.readline() == "ready\n"
    yield children
    for child in children:
        child.stdin.close()
        child.wait(PATIENCE_S)
        child.stdout.close()


def race(children, number, rng):
    """One round: everybody is told in any order; some hesitate for a moment, so that every order occurs.

    In every other round they meet where the decision gets its name: nobody goes on before all are there, so
    that there is a race however the machine deals out its time.
    """
    meet = number % 2 == 0
    for child, order in zip(rng.sample(children, 4), rng.sample(ORDERS, 4), strict=True):
        wait_s = 0 if meet else rng.choice((0, 0, 0.0003, 0.001))
        child.stdin.write(json.dumps({"number": number, "wait_s": wait_s, "meet": meet, **order}) + "\n")
    if meet:
        assert [child.stdout.readline() for child in children] == ["at the link\n"] * 4
        for child in rng.sample(children, 4):
            child.stdin.write("go\n")
    return [json.loads(child.stdout.readline()) for child in children]


def test_in_each_of_a_thousand_races_exactly_one_wins_and_the_others_are_told_who(paths, proposal, deciders):
    text, rng = paths.proposal(1).read_text(), random.Random(1)
    winners = []
    for number in range(1, ROUNDS + 1):
        paths.proposal(number).write_text(text)
        answers = race(deciders, number, rng)
        (winner,) = [n for n, answer in enumerate(answers) if "won" in answer]
        won = answers[winner]["won"]
        assert vars(proposals.read_decision(paths, number)) == won and won["by"] == NAMES[winner]
        assert json.loads(paths.decision(number).read_text()) == won
        told = f"proposal {number} was already {VERBS[won['verdict']]} by {NAMES[winner]} at {won['t']}"
        losers = [answer["lost"] for n, answer in enumerate(answers) if n != winner]
        assert len(losers) == 3 and all(lost.startswith(told) for lost in losers), answers
        winners.append(winner)
    files = sorted(path.name for path in paths.decisions.iterdir())
    assert files == [f"{number:06d}.json" for number in range(1, ROUNDS + 1)]  # and no temporaries
    assert set(winners) == {0, 1, 2, 3}
