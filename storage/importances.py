"""What the importances of a family's states are called: a tolerance and a discarded share are shares of them.

A proposal names its importance; here are the words for people. One that is not known goes by its own name.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The words for one kind of importance."""

    title: str
    """Of one state, on an axis."""
    total: str
    """What a tolerance is a share of, in a sentence: "this share of …"."""
    short: str
    """The same beside a number: "5 % of …"."""
    meaning: str
    """What it tells, and what it does not."""


IMPORTANCES = {
    "hsv": Importance(
        title="Hankel singular value σ",
        total="its summed Hankel singular values, Σσ",
        short="Σσ",
        meaning="How much one state carries from past inputs to future outputs. Of linear time-invariant "
        "layers it follows from the weights alone, and twice the discarded sum bounds the error.",
    ),
    "hsv_squared": Importance(
        title="squared Hankel singular value σ²",
        total="its summed squared Hankel singular values, Σσ²",
        short="Σσ²",
        meaning="Of states that are matrices, from second moments of states and queries on training "
        "sequences. The square root of the discarded share predicts the relative error of the layer's "
        "output; there is no bound.",
    ),
    "output_energy": Importance(
        title="output energy",
        total="the energy of its output",
        short="the output energy",
        meaning="How much of the layer's output, squared and summed over training sequences, is lost without "
        "a state. The square root of the discarded share predicts the relative error; there is no bound.",
    ),
    "key_query_energy": Importance(
        title="energy of keys and queries",
        total="its summed energy of keys and queries",
        short="the energy of keys and queries",
        meaning="How large states are in a direction and how strongly queries read it, on training "
        "sequences. It orders directions and predicts no error.",
    ),
}


def importance_of(name: object) -> Importance:
    """The words for an importance; of an unknown one its name.

    >>> importance_of("hsv_squared").short
    'Σσ²'
    >>> importance_of("loss_change").total
    'its summed loss change'
    """
    plain = str(name).replace("_", " ")
    unknown = Importance(title=plain, total=f"its summed {plain}", short=plain, meaning="")
    return IMPORTANCES.get(str(name), unknown)
