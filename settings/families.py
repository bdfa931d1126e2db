"""The families of sequence layers, one row each, and what a configuration may say of them. No torch.

Everything that is known of a family outside its own files is its row in `FAMILIES`. Which files says
docs/FAMILIES.md, "A family of your own".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hankelboard.settings.importances import (
    HSV,
    OUTPUT_ENERGY,
    SHOWN,
    Importance,
    unknown_importance,
)
from hankelboard.settings.setting import suggest
from hankelboard.storage.errors import ConfigError

TYPE_NAMES: dict[type, str] = {int: "a whole number", float: "a number", str: "a text"}
"""Types that an option may have, in words."""
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of sequence layer whose states can be cut."""

    name: str
    """Value of `model.family`."""
    title: str
    """For people."""
    description: str
    """One sentence: what the layer is."""
    layer: str
    """`module:Class` of the sequence layer, called as Class(width, state_dim, method=…, **options)."""
    methods: tuple[str, ...]
    """Choices of states that a cut may keep, by the names of `reduction.method`; the first is `auto`."""
    importance: Importance
    """What a tolerance is a share of, with the first method."""
    options: Mapping[str, type] = field(default_factory=dict)
    """Arguments of the class that `model.options` may give, and their types."""
    keys: tuple[str, ...] = ()
    """Configuration keys, `section.key`, that only families which list them understand. Those of [model] are
    arguments of the class."""
    systems: bool = False
    """Whether its layers are linear systems (`realisation`), which runs keep for analyses."""
    kernel_package: str = ""
    """Package whose kernel may compute the recurrence on CUDA devices."""
    streaming: str = ""
    """Module of the layer's streaming form, with `step(layer, input, *states)`; it goes along with exported
    models and imports torch only. Empty: exports have weights but no loader."""


FAMILIES: dict[str, Family] = {}
"""All families by name."""


def register_family(family: Family) -> Family:
    """Add a row to `FAMILIES`.

    Raises
    ------
    ValueError
        If the name is taken, or a part of the row cannot be.
    """
    for problem in _problems(family):
        raise ValueError(f"family {family.name!r}: {problem}")
    FAMILIES[family.name] = family
    return family


def _problems(family: Family) -> list[str]:
    """Return what is wrong with a new row, most important first."""
    words = importance_of(family.importance.name)
    used = family.importance.name in importances()
    checks = (
        (family.name.isidentifier() and family.name != AUTO, "the name must be a word"),
        (family.name not in FAMILIES, "a family of this name is registered already"),
        (_names_object(family.layer), f"layer = {family.layer!r} must be module:Class"),
        (bool(family.methods) and AUTO not in family.methods, "methods must name at least one, and not auto"),
        (set(family.options.values()) <= set(TYPE_NAMES), "options must be of type int, float or str"),
        (all(key.count(".") == 1 for key in family.keys), "keys must be written as section.key"),
        (not used or words == family.importance, "its importance has other words in another family"),
    )
    return [problem for holds, problem in checks if not holds]


def _names_object(text: str) -> bool:
    module, _, name = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), name))


def importance_of(name: object) -> Importance:
    """Return the importance of this name with its words; of an unknown one its name.

    >>> importance_of("hsv_squared").short
    'Σσ²'
    >>> importance_of("loss_change").total
    'its summed loss change'
    """
    return importances().get(str(name)) or unknown_importance(str(name))


def importances() -> dict[str, Importance]:
    """Return by name the importances of all families, and those that their spectra show."""
    return {each.name: each for each in (*SHOWN, *(family.importance for family in FAMILIES.values()))}


def all_methods() -> tuple[str, ...]:
    """Return every value that `reduction.method` may have."""
    return (AUTO, *dict.fromkeys(method for family in FAMILIES.values() for method in family.methods))


def families_by_key() -> dict[str, tuple[str, ...]]:
    """Return, for each key that not all families understand, the names of those that do."""
    keys = dict.fromkeys(key for family in FAMILIES.values() for key in family.keys)
    return {key: tuple(name for name, family in FAMILIES.items() if key in family.keys) for key in keys}


def check_family(name: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the family is known and takes these options, or is a class of the user's.

    A class of the user's checks its options itself.
    """
    if ":" in name:
        return
    if name not in FAMILIES:
        own = "a model of your own is package.module:Class"
        raise ConfigError(f"model.family = {name!r}: unknown{suggest(name, FAMILIES)}; {own}")
    types = FAMILIES[name].options
    for key, value in options.items():
        where = f"model.options.{key} = {value!r}"
        if key not in types:
            has = f"has the options {', '.join(types)}" if types else "has no options"
            raise ConfigError(f"{where}: family {name} {has}")
        allowed = (int, float) if types[key] is float else types[key]
        if isinstance(value, bool) or not isinstance(value, allowed):
            raise ConfigError(f"{where}: must be {TYPE_NAMES[types[key]]}")


def refuse_ignored(name: str, key: str, value: object) -> None:
    """Raise ConfigError for a key, set to another value than its default, that the family would ignore."""
    families = families_by_key()[key]
    if name in families:
        return
    section, _, option = key.partition(".")
    has_option = section == "model" and name in FAMILIES and option in FAMILIES[name].options
    instead = f"; set model.options.{option}" if has_option else ""
    raise ConfigError(f"{key} = {value}: only for {' and '.join(families)}, not for {name}{instead}")


def method_of(name: str, method: str) -> str:
    """Return the method by its name where it is `auto`. Raise ConfigError if the family does not have it."""
    if name not in FAMILIES:
        return method
    methods = FAMILIES[name].methods
    if method != AUTO and method not in methods:
        raise ConfigError(f"reduction.method = {method}: family {name} has {', '.join(methods)}")
    return methods[0] if method == AUTO else method


_LAYERS = "hankelboard.trainer.layers"
_FLA = "flash-linear-attention"

for _family in (
    Family(
        name="lru",
        title="LRU",
        description="The linear recurrent unit: one diagonal system of complex states for all channels.",
        layer=f"{_LAYERS}.lru:LRU",
        methods=("balanced", "smallest", "random", "last", "aire"),
        importance=HSV,
        keys=("model.r_min", "model.r_max", "model.max_phase", "model.form", "reduction.symmetry"),
        systems=True,
        streaming=f"{_LAYERS}.streaming.lru",
    ),
    Family(
        name="s4d",
        title="S4D",
        description="A diagonal linear system for every channel, with one input and one output each.",
        layer=f"{_LAYERS}.s4d:S4D",
        methods=("balanced", "random", "last", "aire"),
        importance=HSV,
        options={"init": str, "dt_min": float, "dt_max": float},
        streaming=f"{_LAYERS}.streaming.s4d",
    ),
    Family(
        name="s5",
        title="S5",
        description="One diagonal linear system for all channels, each state with a time step of its own.",
        layer=f"{_LAYERS}.s5:S5",
        methods=("balanced", "random", "last", "aire"),
        importance=HSV,
        options={"dt_min": float, "dt_max": float, "form": str},
        systems=True,
        streaming=f"{_LAYERS}.streaming.s5",
    ),
    Family(
        name="mamba",
        title="Mamba",
        description="A selective state-space layer: decays, inputs and outputs of states follow the data.",
        layer=f"{_LAYERS}.mamba:Mamba",
        methods=("energy", "diagonal", "mean_lti", "random"),
        importance=OUTPUT_ENERGY,
        options={"expand": int, "conv": int, "dt_rank": int},
        keys=("reduction.compensation",),
        kernel_package="mamba-ssm",
        streaming=f"{_LAYERS}.streaming.mamba",
    ),
    Family(
        name="attention",
        title="Linear attention",
        description="Linear attention with a constant decay in each head, as in RetNet.",
        layer=f"{_LAYERS}.linear_attention:LinearAttention",
        methods=("balanced", "diagonal", "random"),
        importance=OUTPUT_ENERGY,
        options={"heads": int, "value_dim": int},
        kernel_package=_FLA,
        streaming=f"{_LAYERS}.streaming.attention",
    ),
    Family(
        name="mamba2",
        title="Mamba-2",
        description="A selective layer with one decay per head, which follows the data.",
        layer=f"{_LAYERS}.mamba2:Mamba2",
        methods=("balanced", "diagonal", "random"),
        importance=OUTPUT_ENERGY,
        options={"heads": int, "groups": int, "expand": int, "conv": int},
        kernel_package=_FLA,
        streaming=f"{_LAYERS}.streaming.mamba2",
    ),
    Family(
        name="gla",
        title="Gated linear attention",
        description="Linear attention with a decay in each key channel, which follows the data.",
        layer=f"{_LAYERS}.gla:GLA",
        methods=("energy", "diagonal", "random"),
        importance=OUTPUT_ENERGY,
        options={"heads": int, "value_dim": int, "gate_rank": int},
        keys=("reduction.compensation",),
        kernel_package=_FLA,
        streaming=f"{_LAYERS}.streaming.gla",
    ),
    Family(
        name="deltanet",
        title="Gated DeltaNet",
        description="Linear attention that erases what a key held, then writes; one decay per head.",
        layer=f"{_LAYERS}.deltanet:DeltaNet",
        methods=("balanced", "diagonal", "random"),
        importance=OUTPUT_ENERGY,
        options={"heads": int, "value_dim": int, "conv": int},
        kernel_package=_FLA,
        streaming=f"{_LAYERS}.streaming.deltanet",
    ),
):
    register_family(_family)
