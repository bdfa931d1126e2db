"""Words for the importances of states: a tolerance and a discarded share are shares of their sum.

A family's row (`hankelboard.settings.families`) holds its importance; a proposal names it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Importance:
    """One kind of importance and the words for it."""

    name: str
    """In the layer's attribute `importance`, in proposals and spectra."""
    title: str
    """Of one state, on an axis."""
    total: str
    """What a tolerance is a share of, in a sentence: "this share of …"."""
    short: str
    """The same beside a number: "5 % of …"."""
    meaning: str
    """What it says, and what it does not."""
    squared: bool = False
    """Whether the square root of a discarded share predicts the relative error of the layer's output."""
    energy_power: int = 1
    """Its power that is an energy."""
    flat_from: float = 0.4
    """Evenness of energies from which on a spectrum is flat: layers that recall about as many pairs of keys
    and values as they have states had 0.42 to 0.89, trained layers of LRU and linear attention on digits,
    tones, text, copying and induction at most 0.28 (docs/log/proposals.md, 2026-11-26)."""


HSV = Importance(
    name="hsv",
    title="Hankel singular value σ",
    total="its summed Hankel singular values, Σσ",
    short="Σσ",
    meaning="How much one state carries from past inputs to future outputs. Of linear time-invariant "
    "layers it follows from the weights alone, and twice the discarded sum bounds the error.",
    energy_power=2,
)
HSV_SQUARED = Importance(
    name="hsv_squared",
    title="squared Hankel singular value σ²",
    total="its summed squared Hankel singular values, Σσ²",
    short="Σσ²",
    meaning="Of states that are matrices, from second moments of states and queries on training "
    "sequences. The square root of the discarded share would be the relative error of the layer's output if "
    "the two knew nothing of each other; there is no bound.",
    squared=True,
)
OUTPUT_ENERGY = Importance(
    name="output_energy",
    title="output energy",
    total="the energy of its output",
    short="the output energy",
    meaning="How much of the layer's output, squared and summed over training sequences that the choice of "
    "states was not fitted to, is lost without a state. The square root of the discarded share is the "
    "relative error, where states do not act on each other; there is no bound.",
    squared=True,
)
KEY_QUERY_ENERGY = Importance(
    name="key_query_energy",
    title="energy of keys and queries",
    total="its summed energy of keys and queries",
    short="the energy of keys and queries",
    meaning="How large states are in a direction and how strongly queries read it, on training "
    "sequences. It orders directions and predicts no error.",
    flat_from=0.8,  # it adds two spectra and is flatter: 0.98 where pairs were recalled, else at most 0.70
)

SHOWN = (HSV, HSV_SQUARED, OUTPUT_ENERGY, KEY_QUERY_ENERGY)
"""Of spectra, and of proposals of all versions."""


def unknown_importance(name: str) -> Importance:
    """Return an importance that goes by its name, for layers of users who gave no words.

    >>> unknown_importance("loss_change").total
    'its summed loss change'
    """
    plain = name.replace("_", " ")
    return Importance(name=name, title=plain, total=f"its summed {plain}", short=plain, meaning="")
