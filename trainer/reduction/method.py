"""Which states a cut keeps: what `reduction.method` and its companions ask of a layer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One for each layer; families have different names (`hankelboard.settings.families.Family.methods`)."""

    name: str = "balanced"
    seed: int = 0
    """Of the method random."""
    symmetry: str = "complex"
    """LRU: balanced truncation of the complex map u -> C x, or of the real one, u -> Re(C x)."""
    compensation: bool = True
    """Selections: fold the regression of the removed states on the kept ones into the layer."""


BALANCED = Method()
ENERGY = Method("energy")
