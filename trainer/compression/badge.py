"""Green, amber or red: what a proposal's own figures say about it, with the reasons in words."""

import math
from collections.abc import Callable, Sequence

from hankelboard.settings.families import importance_of
from hankelboard.storage.figures import fixed, percent, significant
from hankelboard.storage.proposals import measured_error
from hankelboard.storage.schema import Badge, Evidence, Point, ProposalLayer
from hankelboard.storage.spectrum import evenness, tail_sums
from hankelboard.storage.vocabulary import BadgeColor

AMBER_FROM, RED_ABOVE = 0.10, 0.20
"""Relative error of a layer's output, held out: of 224 cuts of trained networks the loss rose by .07 nats at
most below the first, by .30 at most below the second, by 1.1 in the median from an error of .30 on."""
ILL_CONDITIONED = 1e4
NEGLIGIBLE = 0.01
"""Share of the energy that a cut may discard of a flat spectrum: empty states beside full ones may go."""


def badge(proposal: Evidence) -> Badge:
    """Return colour and reasons for the ranks as proposed.

    Red: the write-back is ill-conditioned, or a layer's output changes by more than RED_ABOVE. Amber: one
    changes by AMBER_FROM or more, the cut costs validation significantly (paired bootstrap, 95 %), takes from
    a flat spectrum, keeps about as many states as an untrained layer would, or was not measured. Green: none
    of these. It is advice: no policy looks at it.
    """
    layers = proposal["layers"]
    red = [
        *(reason for layer in layers for reason in _ill_conditioned(layer)),
        *_changes(layers, lambda error: error > RED_ABOVE),
    ]
    amber = [
        *_changes(layers, lambda error: AMBER_FROM <= error <= RED_ABOVE),
        *_costs(proposal),
        *(reason for layer in layers for reason in (*_flat(layer), *_not_learned(layer))),
    ]
    color = BadgeColor.RED if red else BadgeColor.AMBER if amber else BadgeColor.GREEN
    point = _point(proposal)
    fine = "the cut was measured: no layer changes much, and validation does not fall significantly"
    reasons = [*red, *amber] or ([fine] if point else [])
    return {"color": color, "reasons": reasons, "amber_from": AMBER_FROM, "red_above": RED_ABOVE}


def _point(proposal: Evidence) -> Point | None:
    points = proposal["measured"]["points"]
    point: Point | None = next((each for each in points if each["ranks"] == proposal["ranks"]), None)
    return point


def _ill_conditioned(layer: ProposalLayer) -> list[str]:
    condition = layer["condition"][layer["rank"]]
    if condition is None or condition <= ILL_CONDITIONED:
        return []
    return [f"layer {layer['layer']}: the write-back is ill-conditioned ({condition:.1e})"]


def _change(layer: ProposalLayer) -> float | None:
    """Return the measured error of a layer's output at the proposed rank; None where it was not measured."""
    rank, error = measured_error(layer, layer["rank"]) or (0, None)
    return error if rank == layer["rank"] else None


def _changes(layers: Sequence[ProposalLayer], counts: Callable[[float], bool]) -> list[str]:
    return [
        f"layer {layer['layer']}: its output changes by {percent(error, 0)}"
        for layer in layers
        if (error := _change(layer)) is not None and counts(error)
    ]


def _costs(proposal: Evidence) -> list[str]:
    point = _point(proposal)
    if point is None:
        return ["the cut was not measured at these ranks"]
    reasons = [
        f"layer {layer['layer']}: how far its output changes was not measured"
        for layer in proposal["layers"]
        if _change(layer) is None
    ]
    accuracy, loss = _ends(point.get("accuracy_change")), _ends(point.get("loss_change"))
    if accuracy is None or loss is None:
        reasons.append("what the cut does to validation is no finite number")
    elif accuracy[1] < 0:
        low, high = accuracy
        reasons.append(f"validation accuracy falls by {_points(-high, -low)} points (95 % interval)")
    elif loss[0] > 0:
        low, high = loss
        reasons.append(
            f"validation loss rises by {significant(low, 3)} to {significant(high, 3)} (95 % interval)"
        )
    return reasons


def _ends(interval: list[float | None] | None) -> tuple[float, float] | None:
    """Return both ends of an interval, or None where one is no number."""
    low, high = interval or (None, None)
    return None if low is None or high is None or not math.isfinite(low + high) else (low, high)


def _points(low: float, high: float) -> str:
    return f"{fixed(low * 100, 1)} to {fixed(high * 100, 1)}"


def is_flat(layer: ProposalLayer) -> bool:
    """Return whether the states matter about equally, by energy: σ² where the importances are σ."""
    limit = importance_of(layer["importance"]).flat_from
    return layer["state_dim"] > 1 and evenness(_energies(layer)) >= limit


def _energies(layer: ProposalLayer) -> list[float]:
    power = importance_of(layer["importance"]).energy_power
    return [max(0.0, value) ** power for value in layer["hsv"]]


def _flat(layer: ProposalLayer) -> list[str]:
    tails = tail_sums(_energies(layer))
    if layer["rank"] == layer["state_dim"] or tails[layer["rank"]] < NEGLIGIBLE * tails[0]:
        return []
    if not is_flat(layer):
        return []
    even, states = evenness(_energies(layer)), layer["state_dim"]
    return [
        f"layer {layer['layer']}: the spectrum is flat: its energy is spread over about "
        f"{1 + even * (states - 1):.1f} of its {states} states (evenness {even:.2f}; 0 is one state, 1 all "
        "alike), so what a cut removes was in use. Recall of many pairs looks like this and is better not cut"
    ]


def _not_learned(layer: ProposalLayer) -> list[str]:
    null: Sequence[int] | None = layer.get("null_ranks")
    if not null or layer["rank"] == layer["state_dim"] or not min(null) <= layer["rank"] <= max(null):
        return []
    return [
        f"layer {layer['layer']}: an untrained layer keeps {min(null)} to {max(null)} states at this "
        f"tolerance; rank {layer['rank']} says more about initialisation than about what was learned"
    ]
