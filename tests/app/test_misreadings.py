"""What a tired reader would misread: figures from before a cut, buttons that nobody answers, odd ticks."""

import math

import altair as alt
import pytest
import vl_convert

from hankelboard.app.charts.evidence import layer_tables
from hankelboard.app.charts.outcomes import outcomes_spec
from hankelboard.app.charts.parts import log_y, whole_x
from hankelboard.app.data import runs
from hankelboard.app.panels.evidence import left_out_words
from hankelboard.app.words import events
from hankelboard.comparison.specification import specification, table
from tests.app.synthetic_run import SyntheticRun


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("HANKELBOARD_RUNS", str(tmp_path))
    return SyntheticRun(tmp_path, queued=False).start().train(200)


def test_a_best_value_at_or_before_a_cut_is_known_to_be_of_the_larger_model(run):
    assert not runs.was_cut_after(run.id, 100)
    run.propose()
    run.decide(1)
    run.answer(1)
    run.train(300)
    runs.forget(run.id)
    assert runs.was_cut_after(run.id, 100) and runs.was_cut_after(run.id, 200)
    assert not runs.was_cut_after(run.id, 201)


def test_a_policy_that_decided_is_called_a_policy():
    event = {"kind": "decision_accepted", "proposal": 3, "verdict": "approve", "by": "policy:auto"}
    assert events.describe({**event, "apply_at_step": 5}).startswith(
        "Proposal 3 approved by the policy auto;"
    )
    assert "by ada" in events.describe({**event, "by": "ada", "apply_at_step": 5})


def test_what_was_not_measured_is_said_in_words_and_percent():
    assert left_out_words("validation at tolerance 0.025") == "validation at tolerance 2.5 %"
    assert left_out_words("null ranks") == "ranks of untrained layers"
    assert left_out_words("something at tolerance high") == "something at tolerance high"


def ticks(values):
    rows = [{"rank": i + 1, "value": value} for i, value in enumerate(values)]
    line = table("ranks").mark_line().encode(whole_x("rank", "rank"), log_y("value", "bound"))
    spec = specification(alt.layer(line), 142, width=200)
    svg = vl_convert.vegalite_to_svg({**spec, "datasets": {"ranks": rows}})
    axis = svg[svg.index('aria-label="Y-axis') :].split("role-axis-title")[0]
    texts = [part.split("<")[0] for part in axis.split(">")]
    return [float(text) for text in texts if text.replace(".", "", 1).isdigit()]


def test_a_log_axis_names_powers_of_ten():
    named = ticks([0.01 * 3**i for i in range(10)])
    assert len(named) >= 3 and all(math.log10(tick).is_integer() for tick in named)


def test_a_log_axis_of_less_than_two_decades_names_twice_and_five_times_them_too():
    named = ticks([2.0, 3.0, 8.0, 40.0])
    assert len(named) >= 3 and {f"{tick:e}"[0] for tick in named} <= {"1", "2", "5"}


def test_differences_of_accuracy_are_drawn_in_points():
    axes = outcomes_spec()["layer"][1]["encoding"]
    assert all(
        "points" in axes[name]["title"] and "%" not in axes[name]["axis"]["labelExpr"] for name in "xy"
    )


@pytest.mark.parametrize("rank", [1, 20, 50, 58, 61, 63, 64])
def test_the_labels_of_cut_and_gate_do_not_lie_on_each_other_on_a_narrow_screen(rank):
    layer = {"hsv": [1.0] * 64, "state_dim": 64, "discarded_share": [0.5] * 65, "error_bound": None}
    lines = layer_tables(layer, rank, 0.95, 0.05)["lines"].to_pylist()
    start = {"left": 0.0, "center": 0.5, "right": 1.0}
    spans = []
    for line in lines:
        at, width = line["at"] / 64 * 220, 7 * len(line["label"])  # pixels of a narrow chart
        spans.append((at - start[line["side"]] * width, at + (1 - start[line["side"]]) * width))
    (_, first_end), (second_start, _) = sorted(spans)
    assert first_end <= second_start
