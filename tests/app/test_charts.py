"""Specifications of all charts: made by Altair, valid, constant, without data, no larger than by hand."""

import importlib
import json
import pkgutil

import altair as alt
import pytest

from hankelboard.app import charts as wing
from hankelboard.app.charts import analysis, baseline_overlay, branches, evidence, metrics, outcomes, spectra
from hankelboard.comparison import charts
from hankelboard.comparison.curves import AXES, METRICS
from hankelboard.comparison.specification import specification, table, zoom
from tests.app.synthetic_run import SyntheticRun

SIGMA = "Hankel singular value σ"
MADE = [
    *(
        (metrics.metric_spec, (chart, layers))
        for chart in metrics.METRIC_CHARTS.values()
        for layers in (1, 4)
    ),
    (evidence.spectra_spec, (4, SIGMA)),
    (evidence.layer_spectrum_spec, (SIGMA,)),
    (evidence.rank_curve_spec, ("share", "discarded share", "discarded share of Σσ"), True),
    (evidence.rank_curve_spec, ("bound", "error bound", "error bound (H∞)"), False),
    (evidence.measured_spec, ("accuracy", "accuracy, share correct", ".3~%")),
    (evidence.response_spec, ()),
    (analysis.regret_spec, ()),
    (analysis.stability_spec, ()),
    (analysis.drift_spec, ()),
    (branches.tree_spec, (3,)),
    (spectra.heat_spec, (SIGMA,)),
    (spectra.rank_spec, ()),
    (spectra.kept_spec, ()),
    (outcomes.outcomes_spec, ()),
    (baseline_overlay.uncut_spec, ("step",)),
]
BY_HAND = 77_444
"""Bytes of these specifications as they travelled when they were dicts written by hand."""


class Labelled:
    def __init__(self, key):
        self.key = self.label = key


def made(function, arguments, both=None):
    return function(*arguments) if both is None else function(*arguments, percent=both, limit=both)


def compared(*labels):
    palette = charts.Palette(list(map(Labelled, labels)))
    curve = (palette, "train_s", METRICS["val/accuracy"], ".3~%")
    return [charts.curve_spec(*curve), charts.point_spec(palette, "test", "states", log=True)]


def data_of(spec):
    """All that layers say of their data."""
    found = [spec["data"]] if "data" in spec else []
    return found + [data for layer in spec.get("layer", []) for data in data_of(layer)]


def test_no_specification_is_forgotten_here():
    modules = [
        importlib.import_module(f"{wing.__name__}.{one.name}") for one in pkgutil.iter_modules(wing.__path__)
    ]
    named = {name for module in modules for name in vars(module) if name.endswith("_spec")}
    assert named == {function.__name__ for function, *_ in MADE}


@pytest.mark.parametrize("chart", MADE, ids=lambda chart: f"{chart[0].__name__}{chart[1][-1:]}")
def test_a_specification_is_one_valid_object_that_names_its_tables(chart):
    spec = made(*chart)
    assert made(*chart) is spec
    alt.LayerChart.validate(spec)  # raises what the schema of Vega-Lite does not allow
    assert data_of(spec) and all(set(data) == {"name"} for data in data_of(spec))
    assert not {"$schema", "config", "datasets"} & set(spec) and "view_" not in json.dumps(spec)


def test_what_altair_checks_is_what_is_sent():
    with pytest.raises(alt.utils.schemapi.SchemaValidationError):
        specification(alt.layer(table("points").mark_point()), 100, autosize="sideways")


def test_a_selection_stays_in_its_layer():
    plain, zoomed = table("a").mark_line(), table("b").mark_line().add_params(zoom())
    spec = specification(alt.layer(plain, zoomed), 100)
    assert "params" not in spec and "params" not in spec["layer"][0]
    assert [one["name"] for one in spec["layer"][1]["params"]] == ["zoom"]
    assert "name" not in spec["layer"][1]


def test_specifications_are_no_larger_than_by_hand():
    assert sum(len(json.dumps(made(*chart))) for chart in MADE) <= BY_HAND


def test_a_comparison_is_one_object_per_set_of_series():
    for axis in AXES:
        alt.LayerChart.validate(charts.curve_spec(charts.Palette([Labelled("a")]), axis, "loss", ".2f"))
    for spec, again, other in zip(compared("a", "b"), compared("a", "b"), compared("a", "c"), strict=True):
        alt.LayerChart.validate(spec)
        assert again is spec and other is not spec


def test_drawing_does_not_change_a_specification(open_page, runs):
    run = SyntheticRun(runs).start()
    run.train(200)
    spec = metrics.metric_spec(metrics.METRIC_CHARTS["loss"], 2)
    before = json.dumps(spec)
    sent = [chart.proto.spec for chart in open_page("run", run=run.id).get("vega_lite_chart")]
    assert metrics.metric_spec(metrics.METRIC_CHARTS["loss"], 2) is spec and json.dumps(spec) == before
    assert before[1:-1] in next(text for text in sent if "cross-entropy" in text)
