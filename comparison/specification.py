"""From a chart of Altair's to the specification that travels to a browser, and what all charts share.

Altair checks a chart against the schema of Vega-Lite where it becomes a dict: once per process, for functions
that make specifications are cached. A specification never holds data or a domain that depends on them: when
only data change the browser updates the chart in place, without flicker, and keeps its zoom. Whatever varies
is a column of a table, and charts know tables by name.
"""

from typing import Any

import altair as alt

Spec = dict[str, Any]

PADDING = {"left": 2, "top": 4, "right": 6, "bottom": 2}
WHEEL = "wheel![event.ctrlKey || event.metaKey]"
"""The wheel alone scrolls the page; with Ctrl (or ⌘) held it zooms."""


def table(name: str) -> alt.Chart:
    """Return an empty chart of the table that is sent under this name."""
    return alt.Chart(alt.NamedData(name))


def zoom(**options: Any) -> alt.Parameter:
    """Return the selection by which axes are panned and zoomed."""
    return alt.selection_interval(name="zoom", bind="scales", zoom=WHEEL, **options)


def tooltip(*fields: tuple[str, str] | tuple[str, str, str]) -> list[alt.Tooltip]:
    """Return tooltip lines: (field, title), or of a number (field, title, format)."""
    return [
        alt.Tooltip(field=field, title=title, format=format[0], type="quantitative")
        if format
        else alt.Tooltip(field=field, title=title)
        for field, title, *format in fields
    ]


def specification(
    chart: alt.LayerChart | alt.FacetChart, height: int, *, renderer: str = "svg", **properties: Any
) -> Spec:
    """Return what is sent of layers `height` pixels high, validated and without what Altair adds to it.

    Altair adds its schema and its default size of a view, which the page decides on, and lifts selections out
    of their layers, to which it gives names that differ between versions.
    """
    usermeta = {"embedOptions": {"renderer": renderer}}
    whole = {"height": height, "padding": PADDING, "usermeta": usermeta, **properties}
    for name, value in whole.items():
        chart[name] = value  # chart.properties() would copy all layers once more
    spec = chart.to_dict()
    del spec["$schema"], spec["config"]
    for selection in spec.pop("params", []):
        (name,) = selection.pop("views")
        layer = next(layer for layer in spec["layer"] if layer.get("name") == name)
        del layer["name"]
        layer["params"] = [selection]
    return spec
