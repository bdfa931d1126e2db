"""Specifications of all charts: made by Altair, valid, constant, without data, no larger than by hand."""

import importlib
import inspect
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


def arguments(*given, **named):
    return given, named


ARGUMENTS = {  # of specifications that need some; others are found by themselves
    metrics.metric_spec: [
        arguments(chart, layers) for chart in metrics.METRIC_CHARTS.values() for layers in (1, 4)
    ],
    evidence.spectra_spec: [arguments(4, SIGMA)],
    evidence.layer_spectrum_spec: [arguments(SIGMA)],
    evidence.rank_curve_spec: [
        arguments("share", "discarded share", "discarded share of Σσ", percent=True, limit=True),
        arguments("bound", "error bound", "error bound (H∞)", percent=False, limit=False),
    ],
    evidence.measured_spec: [arguments("accuracy", "accuracy, share correct", ".3~%")],
    branches.tree_spec: [arguments(3)],
    spectra.heat_spec: [arguments(SIGMA)],
    baseline_overlay.uncut_spec: [arguments("step")],
}
BY_HAND = 73_898
"""Bytes of the specifications that were dicts written by hand once, as they travelled then."""
WRITTEN_BY_HAND = {
    metrics.metric_spec, evidence.spectra_spec, evidence.layer_spectrum_spec, evidence.rank_curve_spec,
    evidence.measured_spec, evidence.response_spec, 
    analysis.drift_spec, branches.tree_spec, spectra.heat_spec, spectra.rank_spec, spectra.kept_spec,
    outcomes.outcomes_spec, baseline_overlay.uncut_spec,
}  # fmt: skip
LARGEST = 3_500
"""Bytes of any one specification; every other chart has to do with fewer, too."""


def found():
    """Return every function *_spec of app/charts."""
    names = [f"{wing.__name__}.{one.name}" for one in pkgutil.iter_modules(wing.__path__)]
    return [
        value
        for module in map(importlib.import_module, names)
        for name, value in vars(module).items()
        if name.endswith("_spec") and value.__module__ == module.__name__
    ]


def needs_arguments(function):
    parameters = inspect.signature(function).parameters.values()
    return any(one.default is one.empty for one in parameters)


MADE = [
    pytest.param(function, given, named, id=f"{function.__name__}{given[-1:]}")
    for function in found()
    for given, named in ARGUMENTS.get(function, [] if needs_arguments(function) else [arguments()])
]


def size(function):
    """Return the bytes of a specification, with all arguments that it is tried with."""
    tried = ARGUMENTS.get(function, [arguments()])
    return sum(len(json.dumps(function(*given, **named))) for given, named in tried)


class Labelled:
    def __init__(self, key):
        self.key = self.label = key


def compared(*labels):
    palette = charts.Palette(list(map(Labelled, labels)))
    curve = (palette, "train_s", METRICS["val/accuracy"], ".3~%")
    return [charts.curve_spec(*curve), charts.point_spec(palette, "test", "states", log=True)]


def data_of(spec):
    """All that layers say of their data."""
    found = [spec["data"]] if "data" in spec else []
    return found + [data for layer in spec.get("layer", []) for data in data_of(layer)]


def test_no_specification_is_forgotten_here():
    unknown = [one.__name__ for one in found() if needs_arguments(one) and one not in ARGUMENTS]
    assert not unknown, f"{', '.join(unknown)}: add a row to ARGUMENTS in {__file__}, with arguments to try"
    assert set(ARGUMENTS) | WRITTEN_BY_HAND <= set(found())


@pytest.mark.parametrize(("function", "given", "named"), MADE)
def test_a_specification_is_one_valid_object_that_names_its_tables(function, given, named):
    check(function, *given, **named)


def check(function, *given, **named):
    """Check what every specification keeps to."""
    what, spec = function.__name__, function(*given, **named)
    assert function(*given, **named) is spec, (
        f"{what} is made anew each time: decorate it with functools.cache"
    )
    alt.LayerChart.validate(spec)  # raises what the schema of Vega-Lite does not allow
    assert data_of(spec) and all(set(data) == {"name"} for data in data_of(spec)), f"{what} holds data"
    assert not {"$schema", "config", "datasets"} & set(spec) and "view_" not in json.dumps(spec)
    assert len(json.dumps(spec)) <= LARGEST, (
        f"{what} has {len(json.dumps(spec)):,} bytes, which travel with each refresh: at most {LARGEST:,}. "
        "Encode once what layers share, and move into a column of the table what varies"
    )


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
    total = sum(map(size, WRITTEN_BY_HAND))
    assert total <= BY_HAND, (
        f"The charts of WRITTEN_BY_HAND have {total:,} bytes, {total - BY_HAND:,} more than as dicts. "
        "A new chart does not belong there; one that has to grow takes room from another, or leaves the set"
    )


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
