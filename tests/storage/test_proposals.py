import json
import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hankelboard.storage import proposals
from hankelboard.storage.errors import AlreadyDecided, NotDecidable
from hankelboard.storage.history import read_history
from hankelboard.storage.spectrum import discarded_shares


def decide(paths, verdict="approve", **fields):
    return proposals.decide(paths, 1, verdict, by="ada", via="test", **fields)


def test_the_first_decision_wins_and_the_second_is_told_who_and_when(paths, proposal):
    first = decide(paths, ranks=[3], reason="why not")
    assert proposals.read_decision(paths, 1) == first
    with pytest.raises(AlreadyDecided, match=f"approved by ada at {first.t}"):
        decide(paths, "reject")


@pytest.mark.parametrize(
    ("ranks", "message"),
    [([0], "outside 1…4"), ([5], "outside 1…4"), ([1, 1], "2 ranks given"), ([], "0 ranks given"),
     ([2], "cannot be realised; nearest that can: 3"), ([True], "outside"), ([1.0], "outside")],
)  # fmt: skip
def test_impossible_ranks_are_refused_and_nothing_is_written(paths, proposal, ranks, message):
    with pytest.raises(NotDecidable, match=message):
        decide(paths, ranks=ranks)
    assert proposals.read_decision(paths, 1) is None


@pytest.mark.parametrize("kind", ["proposal_superseded", "proposal_expired"])
def test_a_closed_proposal_is_refused_with_the_reason(paths, proposal, tell, kind):
    tell("proposal_published", proposal=1)
    tell(kind, proposal=1, reason="because")
    with pytest.raises(NotDecidable, match="because"):
        decide(paths)


def test_no_such_proposal_says_which_there_are(paths, proposal):
    with pytest.raises(NotDecidable, match=r"no proposal 7 \(there: 1\)"):
        proposals.decide(paths, 7, "approve", by="ada", via="test")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"verdict": "maybe"}'])
def test_a_senseless_decision_file_counts_as_the_first_but_has_no_verdict(paths, proposal, content):
    paths.decision(1).write_bytes(content)
    assert proposals.read_decision(paths, 1).verdict == ""
    with pytest.raises(AlreadyDecided):
        decide(paths)


def test_of_many_processes_that_decide_at_once_exactly_one_wins(paths, proposal):
    program = (
        "import sys; from pathlib import Path; from hankelboard.storage.layout import RunPaths\n"
        "from hankelboard.storage import proposals; from hankelboard.storage.errors import AlreadyDecided\n"
        "sys.stdin.read()\n"
        "paths = RunPaths(Path(sys.argv[1]))\n"
        "try: proposals.decide(paths, 1, 'approve', by=sys.argv[2], via='race'); print('won')\n"
        "except AlreadyDecided as error: print(error)\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(paths.root), f"p{n}"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
        for n in range(6)
    ]  # fmt: skip
    for child in children:
        child.stdin.close()
    answers = []
    for child in children:
        answers.append(child.stdout.read().strip())
        child.stdout.close()
        child.wait()
    assert answers.count("won") == 1
    winner = json.loads(paths.decision(1).read_text())["by"]
    assert all(answer == "won" or f"by {winner}" in answer for answer in answers)
    assert [p.name for p in paths.decisions.iterdir()] == ["000001.json"]  # no temporaries are left


def test_what_if_reads_recorded_arrays_and_never_guesses(proposal):
    at_rule = proposals.what_if(proposal, [1])
    assert at_rule["discarded_share"] == [0.6] and at_rule["error_bound"] == [12.0]
    assert at_rule["parameters"] == 116 and at_rule["measured"]["accuracy"] == 0.5
    assert proposals.what_if(proposal, [3])["measured"] is None


def test_ranks_at_a_tolerance_respect_the_gate_and_realisability(proposal):
    assert proposals.ranks_at(proposal, 0.3) == [3]  # rank 2 cannot be realised
    assert proposals.ranks_at(proposal, 0.0) == [4]
    proposal["gate"] = 0.7
    assert proposals.ranks_at(proposal, 0.1) == [4]  # 3 is not below 0.7 * 4


def test_a_rank_that_cannot_be_written_back_gives_way_upwards_so_that_the_tolerance_holds(proposal):
    proposal["layers"][0]["realisable"] = [False, True, False, False, True]  # 1 is nearer to 2 than 4 is
    assert proposals.ranks_at(proposal, 0.3) == [4]
    proposal["layers"][0]["realisable"] = [False, None, True, None, True]
    assert proposals.ranks_at(proposal, 0.6) == [2]  # 1 was not checked


def test_a_damaged_proposal_is_none_and_its_journal_still_folds(paths, proposal, tell):
    tell("proposal_published", proposal=1)
    paths.proposal(1).write_bytes(b"{")
    assert proposals.read_proposal(paths, 1) is None
    assert read_history(paths).pending().number == 1


def test_layers_that_share_a_tolerance_lose_states_where_they_cost_least():
    steep, flat = [1.0, 0.02, 0.01, 0.0], [1.0, 0.6, 0.3, 0.0]
    alike = {"state_dim": 3, "realisable": [False, True, True, True]}
    proposal = {"gate": 1.0, "layers": [{"discarded_share": s, **alike} for s in (steep, flat)]}
    assert proposals.ranks_at(proposal, 0.2) == [1, 3]
    assert proposals.ranks_at(proposal | {"allocation": "layer"}, 0.2) == [1, 3]
    assert proposals.ranks_at(proposal | {"allocation": "global"}, 0.2) == [1, 2]
    assert proposals.ranks_at(proposal | {"allocation": "global"}, 0.005) == [2, 3]
    assert proposals.ranks_at(proposal | {"allocation": "global"}, 0.0) == [3, 3]


@given(
    st.lists(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5), min_size=1, max_size=3),
    st.floats(0.0, 0.9),
)
def test_no_state_more_could_go_within_a_shared_tolerance(importances, tolerance):
    shares = [discarded_shares(sorted(layer, reverse=True)) for layer in importances if sum(layer) > 0.0]
    assume(shares)
    layers = [
        {"discarded_share": s, "state_dim": len(s) - 1, "realisable": [False] + [True] * (len(s) - 1)}
        for s in shares
    ]
    ranks = proposals.ranks_at({"gate": 1.0, "allocation": "global", "layers": layers}, tolerance)
    spent = sum(s[r] for s, r in zip(shares, ranks, strict=True))
    assert spent <= tolerance * len(shares) + 1e-9
    for s, r in zip(shares, ranks, strict=True):
        assert r == 1 or spent - s[r] + s[r - 1] > tolerance * len(shares) - 1e-9
