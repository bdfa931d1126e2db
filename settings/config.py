"""Configuration: frozen dataclasses, documented under each field, checked at construction.

A run's configuration is a preset, then a TOML file, then `--set key=value`, in that order. It is resolved in
full and kept in run.json, so that a run never depends on a default that may change. No torch here.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hankelboard.settings.families import (
    AUTO,
    FAMILIES,
    all_methods,
    check_family,
    families_by_key,
    method_of,
    refuse_ignored,
)
from hankelboard.settings.setting import check_value, setting, suggest
from hankelboard.settings.tasks import TASKS, check_task, takes_no_options
from hankelboard.settings.toml import spelt_out
from hankelboard.storage.commands import POLICIES, WAITING
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.proposals import VERDICTS


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    family: str = setting(
        "lru", lambda: f"{', '.join(FAMILIES)}, or package.module:Class for a model of your own"
    )
    layers: int = setting(2, "blocks of norm, state-space layer, GELU, GLU", minimum=1, maximum=64)
    width: int = setting(32, "channels H between the layers", minimum=1, maximum=8192)
    state_dim: int | list[int] = setting(
        64,
        "states N per layer at the start (key dimension of a head, where layers have heads); or a list",
        minimum=1,
        maximum=8192,
    )
    state_dim_as: str = setting("", "run whose final states per layer to start with instead; waits for it")
    dropout: float = setting(0.1, "share of activations dropped in training", minimum=0.0, below=1.0)
    norm: str = setting(
        "batch", "normalisation before each layer, without affine", choices=("batch", "layer")
    )
    pooling: str = setting(
        "mean",
        "over time before the head: of all steps, or of those before the padding (where all channels are 0)",
        choices=("mean", "masked"),
    )
    r_min: float = setting(0.9, "smallest |λ| at initialisation", minimum=0.0, below=1.0)
    r_max: float = setting(0.999, "largest |λ| at initialisation", above=0.0, below=1.0)
    max_phase: float = setting(2 * math.pi, "largest arg λ at initialisation", above=0.0, maximum=2 * math.pi)
    form: str = setting(
        "auto",
        "recurrence: scan in time, kernel by FFT, chunks of steps as matrix products, or the cheapest",
        choices=("auto", "scan", "kernel", "chunks"),
    )
    path: str = setting("", "folder to import your own model from, in addition to the installed packages")
    options: dict[str, Any] = setting({}, "keyword arguments of the family or of your own model")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    task: str = setting(
        "digits",
        lambda: f"{', '.join(TASKS)}, or package.module:function of your own",
    )
    folder: str = setting("", "folder with the data files; default: $HANKELBOARD_DATA")
    validation: float = setting(
        0.15, "share of the training data kept apart for validation", minimum=0.01, maximum=0.5
    )
    split_seed: int = setting(0, "seed of the split into training, validation and test", minimum=0)
    path: str = setting("", "folder to import your own data function from")
    options: dict[str, Any] = setting(
        {}, "keyword arguments of your own data function, or options of a generated task; text: file, length"
    )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    steps: int = setting(
        2000,
        "optimizer updates; 0 = measure, and cut where an attempt lies at 0",
        minimum=0,
        maximum=100_000_000,
    )
    batch: int = setting(64, "sequences per update", minimum=1, maximum=65_536)
    learning_rate: float = setting(4e-3, "peak learning rate", above=0.0, maximum=10.0)
    ssm_learning_rate_factor: float = setting(
        0.5, "learning rate of ν, θ, B, γ relative to the rest", above=0.0, maximum=10.0
    )
    weight_decay: float = setting(0.05, "AdamW decay; ν, θ, B, γ have none", minimum=0.0, maximum=10.0)
    schedule: str = setting("cosine", "learning rate after the warm-up", choices=("cosine", "constant"))
    warmup: float = setting(0.1, "share of the steps with rising learning rate", minimum=0.0, below=1.0)
    seed: int = setting(0, "seed of weights, data order and dropout", minimum=0, maximum=2**31 - 1)
    device: str = setting("auto", "where to train", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = setting(
        "float32",
        "of forward passes: bfloat16 is for GPUs and processors that multiply it. Recurrences, losses, "
        "measurements for cuts, parameters and optimizer stay in float32 (a model of your own: "
        "hankelboard.trainer.layers.recurrences.precision.in_float32)",
        choices=("float32", "bfloat16"),
    )
    compile: bool = setting(
        False,
        "torch.compile what surrounds the recurrences in training, anew after each cut; needs a C++ "
        "compiler, on GPUs Triton. Losses agree with those without to 1e-5",
    )
    cuda_graphs: bool = setting(
        False,
        "record what is compiled as CUDA graphs and replay them (mode reduce-overhead of torch.compile)",
    )
    kernels: str = setting(
        "auto",
        "what computes recurrences: our code in PyTorch (own), or where it agrees with that a kernel for "
        "the device (auto): on CPUs ours in C, where there is a C compiler, on CUDA those of packages. They "
        "round differently; HANKELBOARD_KERNELS in the environment wins",
        choices=("auto", "own"),
    )
    threads: int = setting(
        0,
        "CPU threads; 0: the cores there are, shared by the runs that a worker trains at once",
        minimum=0,
        maximum=1024,
    )
    log_every: int = setting(10, "steps between metrics records", minimum=1)
    evaluate_every: int = setting(100, "steps between evaluations on the validation data", minimum=1)
    spectra_every: int = setting(100, "steps between snapshots of the spectrum; 0 = never", minimum=0)
    checkpoint_every: int = setting(500, "steps between scheduled checkpoints; 0 = never", minimum=0)
    keep_checkpoints: int = setting(
        5, "unpinned checkpoints kept per branch, and the best one; 0 = all", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class ReductionConfig:
    policy: str = setting(
        "ask",
        "what decides: a person, the rule, a fixed share that is undone when it hurts, or nobody (keep)",
        choices=POLICIES,
    )
    tolerance: float = setting(
        0.05,
        "share of a layer's summed importances (Σσ, or what its family cuts by) that one attempt may discard",
        minimum=0.0,
        below=1.0,
    )
    attempts: int = setting(4, "proposals, evenly spaced through the window; 0 = never cut", minimum=0)
    window: float = setting(
        0.1,
        "share of the steps in which the attempts lie; 0.1 as published may end too early: "
        "look at the knee of the regret of a run like yours, page Spectra",
        above=0.0,
        maximum=1.0,
    )
    steps: list[int] = setting(
        [], "explicit steps of the attempts instead of attempts and window; 0 is before training", minimum=0
    )
    ranks_as: str = setting(
        "",
        "run whose cuts give the ranks, not the tolerance: after its cut at the same step, else its last",
    )
    gate: float = setting(0.95, "a layer is cut only to ranks below this share of N", above=0.0, maximum=1.0)
    moments: str = setting(
        "transport",
        "Adam's moments after a cut: carried along, zero, or the first entries as they are (ablation)",
        choices=("transport", "reset", "slice"),
    )
    method: str = setting(
        AUTO,
        "states that a cut keeps; auto: as the family does it best (docs/FAMILIES.md). balanced truncation; "
        "energy: those whose loss costs least of the output; baselines: smallest, random, last, aire, "
        "diagonal, mean_lti",
        choices=all_methods,
    )
    compensation: bool = setting(
        True,
        lambda: (
            f"after a selection ({', '.join(families_by_key()['reduction.compensation'])}) fold the "
            "regression of removed states on kept ones into the layer"
        ),
    )
    allocation: str = setting(
        "layer",
        "tolerance of every layer by itself, or of all together: states go where they cost least",
        choices=("layer", "global"),
    )
    calibration: int = setting(
        32,
        "training sequences on which states that depend on data are measured: a choice is fitted to half of "
        "them, what it costs is measured on the other half",
        minimum=1,
    )
    symmetry: str = setting(
        "complex",
        "balance the complex map u -> C x, or the real one, u -> Re(C x), whose cuts reset moments",
        choices=("complex", "real"),
    )
    waiting: str = setting("pause", "while a person decides: pause, or train on", choices=WAITING)
    deadline_s: float = setting(
        0.0, "seconds after which an undecided proposal takes the default; 0 = never", minimum=0.0
    )
    deadline_steps: int = setting(
        0, "steps trained on after which an undecided proposal takes the default; 0 = never", minimum=0
    )
    default: str = setting("reject", "what a deadline decides", choices=VERDICTS)
    at_end: str = setting(
        "expire",
        "a proposal that is undecided at the last step: expires, or waits",
        choices=("expire", "wait"),
    )
    share: float = setting(
        0.1, "policy pragmatic: share of the states that one attempt cuts", above=0.0, below=1.0
    )
    threshold: float = setting(
        0.02, "policy pragmatic: loss of validation accuracy that undoes a cut", minimum=0.0, maximum=1.0
    )
    trial: int = setting(
        0, "policy pragmatic: steps until a cut is judged; 0 = the distance of two attempts", minimum=0
    )
    slack: float = setting(
        1.25, "how much more than approved may be discarded when weights moved meanwhile", minimum=1.0
    )
    grid: list[float] = setting(
        [0.25, 0.5, 1.0, 2.0, 4.0], "tolerances to measure, relative to the rule's", above=0.0
    )
    measure_share: float = setting(
        0.02,
        "share of the run's training time that all its cuts may take; beyond it proposals hold only what a "
        "decision needs (where a person decides, each may take 2 s)",
        minimum=0.0,
        maximum=1.0,
    )
    evidence_samples: int = setting(2048, "validation sequences used to measure a cut", minimum=1)


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    run: str = setting("", "run whose weights to start from, instead of random ones; waits for it")
    checkpoint: str = setting("", "name of its checkpoint; default: its last one")


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    teacher: str = setting("", "run whose predictions to learn from, in addition to the labels; waits for it")
    checkpoint: str = setting("", "name of its checkpoint; default: its last one")
    temperature: float = setting(2.0, "T, by which both sides' logits are divided", above=0.0, maximum=100.0)
    share: float = setting(
        0.5, "weight α of the teacher's term, times T²; 1 − α of the labels'", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True, kw_only=True)
class RegularisationConfig:
    hankel_nuclear: float = setting(
        0.0, "weight of the Hankel nuclear norm, Σσ over all layers, in the loss; 0 = none", minimum=0.0
    )
    form: str = setting(
        "majoriser",
        "its gradient: of an upper bound that is tight at each refresh, or naive: exact at every step",
        choices=("majoriser", "naive"),
    )
    refresh: int = setting(100, "steps between two refreshes of the majoriser", minimum=1)


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    tensorboard: bool = setting(True, "write TensorBoard event files beside the journals")
    systems: bool = setting(
        True, "keep λ, B and C of every layer at 18 steps of the run, for `hankelboard analyse`"
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    reduction: ReductionConfig = field(default_factory=ReductionConfig)
    start: StartConfig = field(default_factory=StartConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    regularisation: RegularisationConfig = field(default_factory=RegularisationConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        for section in dataclasses.fields(self):
            part = getattr(self, section.name)
            for item in dataclasses.fields(part):
                check_value(f"{section.name}.{item.name}", getattr(part, item.name), item)
        self._check_family()
        check_task(self.data.task, self.data.options)
        self._settle_method()
        self._check_combinations()

    def _check_family(self) -> None:
        """Refuse unknown families and options, and keys that the family would ignore."""
        check_family(self.model.family, self.model.options)
        for key in families_by_key():
            section, _, name = key.partition(".")
            part = getattr(self, section)
            if getattr(part, name) != getattr(type(part)(), name):
                refuse_ignored(self.model.family, key, getattr(part, name))

    def _settle_method(self) -> None:
        """Replace `auto` by the name of the family's method, so that a run does not depend on a default."""
        method = method_of(self.model.family, self.reduction.method)
        object.__setattr__(self, "reduction", dataclasses.replace(self.reduction, method=method))

    def _check_combinations(self) -> None:
        model, steps = self.model, self.training.steps
        if model.r_min >= model.r_max:
            raise ConfigError(f"model.r_min = {model.r_min}: must be below model.r_max = {model.r_max}")
        if isinstance(model.state_dim, list) and len(model.state_dim) != model.layers:
            raise ConfigError(
                f"model.state_dim = {model.state_dim}: needs {model.layers} numbers, one per layer"
            )
        if steps == 0 and not self.start.run:
            raise ConfigError("training.steps = 0: must be at least 1 unless start.run gives trained weights")
        if self.training.cuda_graphs and not self.training.compile:
            raise ConfigError("training.cuda_graphs = true: needs training.compile = true")
        if self.reduction.symmetry == "real":
            for key, needed in (("moments", "reset"), ("method", "balanced")):
                if getattr(self.reduction, key) != needed:
                    raise ConfigError(f"reduction.symmetry = real: needs reduction.{key} = {needed}")
        for step in self.reduction.steps:
            if step > steps:
                raise ConfigError(f"reduction.steps = {self.reduction.steps}: {step} is beyond {steps} steps")

    @property
    def state_dims(self) -> list[int]:
        """State dimension of each layer at the start."""
        given = self.model.state_dim
        return list(given) if isinstance(given, list) else [given] * self.model.layers

    def as_dict(self) -> dict[str, dict[str, Any]]:
        return dataclasses.asdict(self)


def parse(tables: Mapping[str, Any]) -> Config:
    """Return a configuration from nested tables, as TOML or JSON give them.

    Raises
    ------
    ConfigError
        If a section or key is unknown or a value is not allowed: names key, value and what is allowed.
    """
    sections = {item.name: item.default_factory for item in dataclasses.fields(Config)}
    parts = {}
    for name, table in spelt_out(tables).items():
        if name not in sections:
            raise ConfigError(f"unknown section {name}{suggest(name, sections)}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{name} = {table!r}: must be a table of keys")
        parts[name] = _parse_section(name, sections[name], table)
    return Config(**parts)


def parse_recorded(tables: Mapping[str, Any]) -> Config:
    """Return the configuration of an existing run.

    As `parse`, but options of a task that takes none are left out: once they were ignored, not refused.
    """
    data = tables.get("data")
    if isinstance(data, Mapping) and takes_no_options(data.get("task")):
        tables = {**tables, "data": {**data, "options": {}}}
    return parse(tables)


def _parse_section(name: str, kind: Any, table: Mapping[str, Any]) -> Any:
    keys = {item.name: item for item in dataclasses.fields(kind)}
    values = {}
    for key, value in table.items():
        if key not in keys:
            raise ConfigError(
                f"unknown key {name}.{key}{suggest(f'{name}.{key}', [f'{name}.{k}' for k in keys])}"
            )
        values[key] = float(value) if keys[key].type is float and type(value) is int else value
    return kind(**values)
