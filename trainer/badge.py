"""Green, amber or red: what a proposal's own figures say about it, with the reasons in words."""

from collections.abc import Sequence

from storage.records import Record

SMALL_ERROR = 0.10
ILL_CONDITIONED = 1e4


def badge(proposal: Record) -> Record:
    """Colour and reasons for the ranks as proposed.

    Red: the write-back is ill-conditioned. Amber: the cut costs validation significantly (paired bootstrap,
    95 %), changes a layer's output by 10 % or more, keeps about as many states as an untrained layer would,
    or was not measured. Green: none of these. It is advice: no policy looks at it.
    """
    red = [reason for layer in proposal["layers"] for reason in _ill_conditioned(layer)]
    amber = [*_costs(proposal), *(reason for layer in proposal["layers"] for reason in _not_learned(layer))]
    color = "red" if red else "amber" if amber else "green"
    point = _point(proposal)
    fine = "the cut was measured: no layer changes much, and validation does not fall significantly"
    return {"color": color, "reasons": [*red, *amber] or ([fine] if point else [])}


def _point(proposal: Record) -> Record | None:
    points = proposal["measured"]["points"]
    found: Record | None = next((p for p in points if p["ranks"] == proposal["ranks"]), None)
    return found


def _ill_conditioned(layer: Record) -> list[str]:
    condition = layer["condition"][layer["rank"]]
    if condition is None or condition <= ILL_CONDITIONED:
        return []
    return [f"layer {layer['layer']}: the write-back is ill-conditioned ({condition:.1e})"]


def _costs(proposal: Record) -> list[str]:
    point = _point(proposal)
    if point is None:
        return ["the cut was not measured at these ranks"]
    reasons = [
        f"layer {layer}: its output changes by {error:.0%}"
        for layer, error in enumerate(point["output_error"])
        if error >= SMALL_ERROR
    ]
    low, high = point["accuracy_change"]
    if high < 0:
        reasons.append(f"validation accuracy falls by {_points(-high, -low)} points (95 % interval)")
    elif point["loss_change"][0] > 0:
        low, high = point["loss_change"]
        reasons.append(f"validation loss rises by {low:.3g} to {high:.3g} (95 % interval)")
    return reasons


def _points(low: float, high: float) -> str:
    return f"{low * 100:.1f} to {high * 100:.1f}"


def _not_learned(layer: Record) -> list[str]:
    null: Sequence[int] | None = layer.get("null_ranks")
    if not null or layer["rank"] == layer["state_dim"] or not min(null) <= layer["rank"] <= max(null):
        return []
    return [
        f"layer {layer['layer']}: an untrained layer keeps {min(null)} to {max(null)} states at this "
        f"tolerance; rank {layer['rank']} says more about initialisation than about what was learned"
    ]
