"""What the evidence pages do besides showing: budget, measuring, smoothing, baseline, analyses."""

import copy

import numpy as np
import pytest

from hankelboard.app.charts import analysis, metric_tables, outcomes
from hankelboard.app.data import (
    analyses,
    columns,
    compared_runs,
    interventions,
    proposals,
)
from hankelboard.app.data import (
    runs as data,
)
from hankelboard.storage import atomic, commands
from hankelboard.storage.figures import percent
from hankelboard.storage.history import History
from hankelboard.storage.journal import read_journal
from hankelboard.storage.proposals import publish_measurement, ranks_within
from hankelboard.storage.systems import publish_analysis
from tests.app.conftest import of_choice, text_of
from tests.app.synthetic_run import SyntheticRun

ANALYSIS = {
    "until_step": 200, "provisional": True, "left_out_before_cut": 3, "branch": 0,
    "layers": [
        {
            "layer": layer, "state_dim": 64, "steps": [0, 20, 200],
            "regret": [{"tolerance": 0.05, "rank": 30, "regret": [0.02, 0.005, 0.0], "random": [0.2, 0.3]}],
            "between": [
                {"since": 0, "step": 20, "overlap": 0.9, "drift": 0.0, "weyl": 3.0, "order": None},
                {"since": 20, "step": 200, "overlap": 1.0, "drift": 0.1, "weyl": 2.0, "order": 0.8},
            ],
        }
        for layer in (0, 1)
    ],
}  # fmt: skip


@pytest.fixture
def waiting(runs):
    run = SyntheticRun(runs).start()
    run.train(200)
    run.propose()
    run.status("waiting_for_decision")
    return run


def decide_and_apply(run):
    run.decide(1)
    run.answer(1)


def test_a_layer_says_how_far_its_output_changes_where_that_was_measured(open_page, waiting):
    page = open_page("truncation", run=waiting.id)
    layer = proposals.proposal(waiting.id, 1)["layers"][0]
    ranks, errors = layer["output_error"]["ranks"], layer["output_error"]["errors"]
    key = next(slider.key for slider in page.select_slider if slider.key.startswith("rank_0"))
    amount = (
        f"its output changes by {percent(errors[2], 1)} (measured on 16 sequences: calibration, held out)"
    )
    page.select_slider(key=key).set_value(ranks[2]).run()
    assert amount.replace("its", "Its") in text_of(page)
    page.select_slider(key=key).set_value(ranks[2] + 1).run()
    assert f"Not measured at this rank; at rank {ranks[2]} {amount}" in text_of(page)
    page.select_slider(key=key).set_value(64).run()
    assert "Its output does not change." in text_of(page)


def test_older_records_say_that_it_was_not_measured_and_limits_are_those_of_the_record(open_page, runs):
    run = SyntheticRun(runs).start()
    run.train(200)
    layers = run.evidence()["layers"]
    for layer in layers:
        del layer["output_error"]
    badge = {"color": "amber", "reasons": ["layer 0: its output changes by 12 %"]}
    run.propose(layers=layers, badge=badge)
    told = text_of(open_page("truncation", run=run.id))
    assert "How far its output changes was not measured." in told and "green below" not in told
    run.propose(badge=badge | {"amber_from": 0.07, "red_above": 0.3})
    assert "green below 7 %, red above 30 %" in text_of(open_page("truncation", run=run.id))


def test_a_budget_sets_the_ranks_of_all_layers(open_page, waiting):
    page = open_page("truncation", run=waiting.id)
    of_choice(page, "rule").set_value("budget for all layers").run()
    of_choice(page, "budget").set_value(0.5).run()
    record = proposals.proposal(waiting.id, 1)
    expected = ranks_within(record, 0.5)
    shown = [of_choice(page, f"rank_{i}").value for i in range(len(expected))]
    assert shown == expected and sum(shown) <= 64
    assert "the sum of the error bounds" in text_of(page)


def test_no_place_of_a_slider_travels_in_one_message_only(open_page, waiting):
    """Streamlit may drop a message; a slider whose place came in it would fall back (rank_sliders.py)."""
    page = open_page("truncation", run=waiting.id)

    def standing():
        found = [of_choice(page, name).proto for name in ("rule", "tolerance", "rank_0", "rank_1")]
        assert not any(proto.set_value for proto in found)
        return [proto.id for proto in found], [list(proto.default) for proto in found]

    proposed = standing()
    page.run()
    assert standing() == proposed  # a refresh changes nothing, and says all again
    of_choice(page, "tolerance").set_value(0.2).run()
    followed = standing()
    assert followed[0][:2] == proposed[0][:2]  # the slider in the hand stays
    assert not {*followed[0][2:]} & {*proposed[0][2:]} and followed[1][2:] != proposed[1][2:]
    of_choice(page, "rank_0").set_value(3).run()
    assert standing() == followed and of_choice(page, "rank_0").value == 3
    page.button(key="reset_ranks").click().run()
    assert standing()[1] == proposed[1] and not {*standing()[0]} & {*proposed[0]}


def test_what_was_not_measured_can_be_asked_for(open_page, waiting):
    page = open_page("truncation", run=waiting.id)
    ranks = [of_choice(page, f"rank_{i}").value - 1 for i in range(2)]
    for place, rank in enumerate(ranks):
        of_choice(page, f"rank_{place}").set_value(rank).run()
    page.button(key="measure_mine").click().run()
    command_id = commands.command_ids(waiting.paths)[0]
    command = commands.read_command(waiting.paths, command_id)
    assert (command.kind, command.proposal, command.ranks) == ("measure", 1, ranks)
    point = {"tolerance": 0.1, "ranks": ranks, "rule": False, "asked": True, "loss": 0.5, "accuracy": 0.42,
             "seconds_per_step": 0.01}  # fmt: skip
    publish_measurement(
        waiting.paths, command_id, {"proposal": 1, "points": [point], "layers": [{}, {}], "done": []}
    )
    data.forget(waiting.id)
    page.run()
    assert "42.00 %" in text_of(page)
    assert "measured: the ringed point" in text_of(page)


def test_predictions_of_all_runs_beside_their_outcomes(open_page, waiting):
    decide_and_apply(waiting)
    data.summaries()  # read before, so that nothing is left out for want of time
    rows, left_out = proposals.outcomes()
    assert left_out == 0
    (applied,) = (e for e in read_journal(waiting.paths.events)[0] if e["kind"] == "reduction_applied")
    before, predicted, after = (applied[key]["accuracy"] for key in ("before", "predicted", "after"))
    assert [(row["run"], row["predicted"], row["measured"]) for row in rows] == [
        (waiting.id, predicted - before, after - before)
    ]
    table = outcomes.points_table(rows, waiting.id)
    assert table.column("where").to_pylist() == [outcomes.HERE]
    assert "How far predictions held" in str(
        [s.value for s in open_page("truncation", run=waiting.id).subheader]
    )


def test_smoothing_is_computed_before_reduction_and_keeps_gaps_and_the_raw_line(waiting):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(5000).cumsum()
    values[100] = np.nan
    smoothed = columns.smoothed(values, 0.9)
    weights, total, expected = 0.0, 0.0, []
    for value in values[:100]:
        total, weights = 0.9 * total + 0.1 * value, 0.9 * weights + 0.1
        expected.append(total / weights)
    np.testing.assert_allclose(smoothed[:100], expected)
    assert np.isnan(smoothed[100]) and not np.isnan(smoothed[101])
    table = metric_tables.chart_table(waiting.id, "loss", 0.9).to_pylist()
    raw = {row["step"]: row["value"] for row in table if row["path"] == "raw"}
    plain = metric_tables.chart_table(waiting.id, "loss").to_pylist()
    assert raw == {r["step"]: r["value"] for r in plain if r["series"] == "training" and r["path"] == "live"}
    live = [row["value"] for row in table if row["series"] == "training" and row["path"] == "live"]
    assert live and live != list(raw.values())


def test_a_cut_run_stands_beside_the_baseline_of_its_group(open_page, runs, waiting):
    decide_and_apply(waiting)
    waiting.train(400)
    assert "As if uncut" not in str([s.value for s in open_page("run", run=waiting.id).subheader])
    baseline = SyntheticRun(runs, "full", role="baseline").start()
    baseline.train(400)
    SyntheticRun(runs, "elsewhere", role="baseline", group="other").start().train(100)
    row = data.summary(waiting.id)
    assert compared_runs.baseline_of(row, data.summaries())["run"] == baseline.id
    page = open_page("run", run=waiting.id)
    assert "As if uncut" in str([s.value for s in page.subheader])
    assert "up to step 400" in text_of(page)


def test_an_analysis_is_shown_with_what_it_is_not(open_page, waiting):
    publish_analysis(waiting.paths, ANALYSIS)
    told = text_of(open_page("spectra", run=waiting.id))
    assert "Provisional" in told and "3 snapshots from before it" in told
    assert "at step 20: 0.50 %" in told and "drawn by lot: 25.00 %" in told and "knows no knee" in told
    drift = analysis.drift_table(ANALYSIS["layers"][0])
    assert drift.num_rows == 3  # a drift of 0 has no place on a log axis
    assert analysis.stability_table(ANALYSIS["layers"][0]).num_rows == 3


def analysis_with(**newer):
    """An analysis as it is written now, of a run that ended."""
    record = copy.deepcopy(ANALYSIS) | {"provisional": False, "left_out_before_cut": 0}
    for layer in record["layers"]:
        layer["regret"][0].update({"cut_regret": [0.03, 0.004, 0.0], "knee": 20, "random": [0.3]} | newer)
    return record


def test_the_knee_is_shown_with_what_it_says_about_the_window(open_page, waiting):
    publish_analysis(waiting.paths, analysis_with())
    told = text_of(open_page("spectra", run=waiting.id))
    assert "Knee at step 20, 10 % of the 200 steps" in told
    assert "reaches it" in told and "at step 20: 0.40 %" in told and "drawn by lot: 30.00 %" in told
    publish_analysis(waiting.paths, analysis_with(knee=60))
    assert "0.3 puts the last attempt there" in text_of(open_page("spectra", run=waiting.id))
    publish_analysis(waiting.paths, analysis_with(knee=None))
    assert "No knee" in text_of(open_page("spectra", run=waiting.id))


def test_the_chart_of_regret_marks_the_knee_and_a_tenth_of_the_tolerance():
    layer = analysis_with()["layers"][0]
    drawn = analysis.regret_tables(layer, layer["regret"][0])
    assert drawn["knee"].to_pylist() == [{"step": 20}]
    assert drawn["small"].column("value").to_pylist() == pytest.approx([0.005])
    kinds = drawn["lines"].column("kind").to_pylist()
    assert {kinds.count(kind) for kind in analysis.KINDS} == {2}  # without the 0 of the last snapshot
    older = ANALYSIS["layers"][0]
    drawn = analysis.regret_tables(older, older["regret"][0])
    assert drawn["knee"].num_rows == 0 and analysis.OF_CUT not in drawn["lines"].column("kind").to_pylist()


@pytest.mark.parametrize(
    "damage", [{"layers": [{}]}, {"layers": [{"steps": [1], "regret": [], "between": [1]}]}]
)
def test_a_damaged_analysis_does_not_take_the_page_down(open_page, waiting, damage):
    waiting.paths.analyses.mkdir()
    atomic.create(waiting.paths.analysis("0" * 26), {**ANALYSIS, **damage})
    assert analyses.latest(waiting.id) is None
    assert "Not computed yet" in text_of(open_page("spectra", run=waiting.id))


def test_many_interventions_become_few_marks_that_count_them():
    history = History()
    history.apply({"kind": "attempt_started", "step": 0, "branch": 0, "attempt": 0, "state_dims": [4]})
    for step in range(1, 2001):
        history.apply(
            {"kind": "paused" if step != 777 else "loss_not_finite", "step": step, "branch": 0, "attempt": 0}
        )
    marks = interventions.intervention_marks(history)
    assert len(marks) <= interventions.MARKS_SHOWN + 1
    strongest = [mark for mark in marks if mark["kind"] == "not finite"]
    assert len(strongest) == 1 and "1 x not finite" in strongest[0]["text"]
    assert (
        sum(int(part.split(" x ")[0].split()[-1]) for mark in marks for part in mark["text"].split(", "))
        == 2000
    )


def test_the_glossary_finds_terms(open_page):
    page = open_page("glossary")
    page.text_input(key="term").set_value("vacuous").run()
    assert "promises nothing" in text_of(page) and "gate" not in text_of(page).split("Documents")[0]


def test_a_run_that_keeps_no_systems_says_so_and_offers_no_analysis(open_page, waiting):
    page = open_page("spectra", run=waiting.id)
    assert "Nothing to analyse: this run keeps no systems" in text_of(page)
    assert not [button for button in page.button if button.key == "analyse"]
