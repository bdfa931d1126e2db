"""What does not fit is named by its key; what readers can do without is theirs to leave out."""

import copy
import json
import re
from pathlib import Path

import pytest

from hankelboard.storage import decoding, proposals
from hankelboard.storage.journal import events_reader, spectra_reader
from hankelboard.storage.records import decode
from hankelboard.storage.shapes import shape_of
from hankelboard.storage.verification import verify_run

DOCUMENT = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```json (\w+)\n(.*?)```", DOCUMENT, re.DOTALL))
BRANCH = next(line for line in EXAMPLES["events"].splitlines() if "branch_started" in line)


def changed(text, place, value):
    record = copy.deepcopy(decode(text.strip()))
    target = record
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = value
    return record


@pytest.mark.parametrize(
    ("kind", "place", "value", "told"),
    [
        ("spectrum", ["layer"], [0], "layer: must be a whole number from 0 to 999,999"),
        ("spectrum", ["state_dim"], 4, "hsv: must be a list of 4 numbers, as many as state_dim says"),
        ("spectrum", ["hsv"], [3.0, "2", 1.0], "hsv[1]: must be a number or null"),
        ("spectrum", ["step"], -1, "step: must be a whole number from 0 to 2,147,483,647"),
        ("spectrum", ["step"], 10**12, "step: must be a whole number from 0 to 2,147,483,647"),
        ("spectrum", ["attempt"], True, "attempt: must be a whole number from 0 to 999,999"),
        ("event", ["branch"], {}, "branch: must be a whole number from 0 to 999,999"),
        ("event", ["state_dims"], "64,64", "state_dims: must be a list of whole numbers from 0 to"),
        ("event", ["undone"], [{}], "undone[0]: must be a whole number from 0 to 999,999,999"),
        ("event", ["kind"], ["paused"], "kind: must be text"),
        ("proposal", ["tolerance"], {}, "tolerance: must be a number from 0 to 1"),
        ("proposal", ["tolerance"], 1, "tolerance: must be below 1"),
        ("proposal", ["layers"], [], "ranks: must be a list of 1, one rank per layer"),
        ("proposal", ["layers", 0, "realisable"], [True], "layers[0].realisable: must have 3 items"),
        ("proposal", ["layers", 0, "hsv"], [1.0], "layers[0].hsv: must have 2 items"),
        ("proposal", ["layers", 0, "error_bound"], [], "layers[0].error_bound: must have 3 items"),
        ("proposal", ["layers", 0, "rank"], 3, "layers[0].rank: must be from 1 to 2"),
        ("proposal", ["ranks"], [0], "layers[0].rank: must be from 1 to 2"),
        ("proposal", ["measured", "points", 0, "ranks"], [1, 1],
         "measured.points[0].ranks: must have 1 items, one per layer"),
        ("proposal", ["measured", "points", 0, "loss_change"], [1.0],
         "measured.points[0]: an interval must have two ends"),
        ("proposal", ["deadline", "s"], "600", "deadline.s: must be a number from 0 to 1,000,000,000,000"),
        ("proposal", ["badge", "reasons"], [None], "badge.reasons[0]: must be text"),
        ("metrics", ["train_s"], None, "train_s: must be a number from 0 to 1,000,000,000,000"),
        ("metrics", ["val/accuracy"], True, "val/accuracy: must be a number or null"),
        ("status", ["best"], {"metric": "val/accuracy", "step": 3}, "best.value: is missing"),
        ("run", ["tags"], "a", "tags: must be a list of texts"),
        ("run", ["config", "model"], "lru", "config.model: must be an object"),
        ("decision", ["verdict"], "perhaps", "verdict: must be one of approve, reject"),
        ("command", ["command"], "dance", "command: must be one of pause, resume"),
        ("note", ["by"], 7, "by: must be text"),
        ("manifest", ["files"], {"a": {"bytes": -1, "sha256": ""}}, "files.a.bytes: must be a whole number"),
        ("analysis", ["layers", 0, "regret", 0, "random"], [], "layers[0].regret: must have one value"),
        ("analysis", ["layers", 0, "regret", 0, "cut_regret"], [0.1], "layers[0].regret: must have one"),
        ("analysis", ["layers", 0, "regret", 0, "knee"], "early", "layers[0].regret[0].knee: must be"),
        ("measurement", ["layers"], [{}, {}], "points: ranks and layers must have one length"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(kind, place, value, told):
    text = {"event": BRANCH, "spectrum": EXAMPLES["spectra"]}.get(kind) or EXAMPLES[kind]
    misfit = getattr(decoding, f"misfit_of_{kind}")
    assert misfit(decode(text.strip())) == ""
    assert misfit(changed(text, place, value)).startswith(told)


def test_unknown_keys_and_kinds_are_ignored():
    assert decoding.misfit_of_metrics(changed(EXAMPLES["metrics"], ["of tomorrow"], [{}])) == ""
    tomorrow = {"kind": "of tomorrow", "step": 1, "branch": 0, "attempt": 0, "ranks": "many"}
    assert decoding.misfit_of_event(tomorrow) == ""
    assert decoding.misfit_of_event({**tomorrow, "step": "1"}).startswith("step: must be")


def test_a_damaged_event_changes_nothing_and_is_counted_by_all_alike(paths, tell):
    tell("attempt_started", state_dims=[4], policy="ask")
    tell("paused", by=["ada"])
    reader = events_reader(paths)
    assert [event["kind"] for event in reader.read_new()] == ["attempt_started"]
    assert reader.described == "1 damaged line: line 2 at by: must be text"
    assert [(f.where, f.what) for f in verify_run(paths)] == [("events.jsonl", reader.described)]


def test_lines_are_numbered_over_all_pieces_and_from_the_start_after_a_restart(paths):
    line = EXAMPLES["spectra"].strip() + "\n"
    paths.spectra.write_text(line * 40 + '{"layer":[]}\n' + line)
    reader = spectra_reader(paths)
    assert sum(len(batch) for batch in reader.batches(limit_bytes=300)) == 41
    assert reader.first_damage.startswith("line 41 at ")
    with paths.spectra.open("a") as file:
        file.write("nonsense\n")
    assert reader.read_new() == [] and reader.damaged == 2
    assert reader.described.startswith("2 damaged lines, the first: line 41 at ")
    paths.spectra.write_text("{\n" + line)
    assert len(reader.read_new()) == 1
    assert reader.described == "1 damaged line: line 1 is no JSON object"


def test_a_measurement_that_does_not_fit_its_proposal_is_left_out(paths, proposal):
    (paths.root / "measurements").mkdir()
    record = json.loads(EXAMPLES["measurement"])
    for point in record["points"]:
        point["ranks"] = [1, 1]
    record["layers"] = [{}, {}]
    paths.measurement("0" * 26).write_text(json.dumps(record))
    assert proposals.read_evidence(paths, 1) == proposals.read_proposal(paths, 1)


def test_true_is_no_number_and_a_type_is_checked_once():
    assert shape_of(int).misfit(True) == "must be a whole number"
    assert shape_of(float | None).misfit(None) == "" and shape_of(float).misfit(3) == ""
    assert shape_of(list[int]) is shape_of(list[int])
