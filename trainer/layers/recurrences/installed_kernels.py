"""Kernels in place of our recurrences in PyTorch: of well-kept packages on CUDA devices, ours in C on CPUs.

    mamba-ssm               selective_scan_fn          Mamba-1               selective.py
    flash-linear-attention  chunk_simple_gla           attention, Mamba-2    scalar_decay.py
                            chunk_gla                  GLA                   channel_decay.py
                            chunk_gated_delta_rule     DeltaNet              delta_rule.py
                            (since 0.6 its operations are the package fla-core, which is enough)
    c                       all of these, and the scan of complex states of LRU and S5 (c_kernels/)

None is required: without a package, or a C compiler, ours compute. Before a kernel is used
it is compared with our recurrence, once per process for the sizes of a layer, on a seeded input: output and
gradients of all arguments must agree to `TOLERANCE`. One that
disagrees, fails or cannot be imported is left alone, with a warning that says why. Which one computes is part
of a run's record (`Monitor.settle_forms`): a resumed run goes on with it, or ends and says why it cannot.
`training.kernels = "own"` asks for ours, and so does HANKELBOARD_KERNELS=own in the environment, in a resumed
run, too.

The backward pass of mamba-ssm adds up in no fixed order: its runs repeat to rounding, and not to the bit.
Triton multiplies single precision as TF32 on newer GPUs, which errs by about 1e-3. Such a kernel is refused,
as recurrences are in single precision; TRITON_F32_DEFAULT=ieee in the environment changes that.
Left out: `mamba_chunk_scan_combined` of mamba-ssm, which takes Δ and x apart where ours takes Δ ∘ x.
"""

import contextlib
import functools
import importlib
import importlib.util
import inspect
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata

import torch
from torch import Tensor
from torch.nn import functional

from hankelboard.settings.families import FAMILIES
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.layers.recurrences import diagonal, scan_choice
from hankelboard.trainer.layers.recurrences.c_kernels.library import library
from hankelboard.trainer.layers.recurrences.channel_decay import channel_decay
from hankelboard.trainer.layers.recurrences.delta_rule import delta_rule
from hankelboard.trainer.layers.recurrences.scalar_decay import scalar_decay_scan
from hankelboard.trainer.layers.recurrences.selective import selective_scan

OWN = "own"
"""Name of our recurrences among the forms of a layer; kernels have the name of their package."""
VARIABLE = "HANKELBOARD_KERNELS"
DEVICES = ("cuda",)
"""Types of device that the packages are for."""
C = "c"
"""Name of our kernels in C among the forms of a layer."""
TOLERANCE = 1e-4
"""Of the norm of output and gradients: ten times what rounding in single precision does, a tenth of TF32."""
SEQUENCES, STEPS = 2, 100
"""Of the input of a comparison: more steps than a chunk of any kernel has, and no multiple of one."""
NOT_INSTALLED = "it is not installed"

Parts = tuple[Tensor, ...]
Function = Callable[..., Tensor]


@dataclass(frozen=True)
class InstalledKernel:
    """A function of a package that computes one of our recurrences."""

    package: str
    """As it is installed and recorded."""
    module: str
    function: str
    own: Function
    """Our recurrence, batch and time first."""
    call: Callable[..., Tensor]
    """The package's function and arguments of ours, to what ours would return."""
    sample: Callable[..., Parts]
    """A source of normal numbers, batch, length and the layer's sizes, to arguments of ours."""
    advice: str = ""
    """What to do about a disagreement."""
    differentiable: bool = True
    """Whether gradients are compared, too."""

    def devices(self) -> tuple[str, ...]:
        """Return the types of device that it is for."""
        return ("cpu",) if self.package == C else DEVICES

    def missing(self) -> str:
        """Return why it is not to be had on this machine; empty where it is."""
        if self.package == C:
            return library().reason
        return "" if importlib.util.find_spec(self.module.partition(".")[0]) else NOT_INSTALLED

    def load(self) -> Function:
        function: Function = getattr(importlib.import_module(self.module), self.function)
        return function


Kernels = tuple[InstalledKernel, ...]
"""Those of one recurrence: at most one of a package, and one for a type of device."""


def choose(kernels: Kernels, kept: str | None, device: torch.device, sizes: tuple[int, ...]) -> str:
    """Return what computes a layer of these sizes: `OWN` or the package of a kernel.

    Parameters
    ----------
    kept : str, optional
        What the run is bound to; None lets the kernel for this device have it where it agrees.
    sizes : tuple of int
        Sizes of the kernel's sample in addition to batch and length.

    Raises
    ------
    ConfigError
        If the run is bound to a kernel, and it cannot be used here; or the variable has another value.
    """
    if OWN in (_asked_for(), kept):
        return OWN
    if kept is not None:
        return _bound(kernels, kept, device, sizes)
    kernel = next((each for each in kernels if device.type in each.devices()), None)
    if kernel is None or kernel.missing():
        return OWN
    if reason := refusal(kernel, device, sizes):
        warnings.warn(f"{kernel.package} is not used: {reason}", RuntimeWarning, stacklevel=2)
        return OWN
    return kernel.package


def _bound(kernels: Kernels, kept: str, device: torch.device, sizes: tuple[int, ...]) -> str:
    kernel = next((each for each in kernels if each.package == kept), None)
    reason = refusal(kernel, device, sizes) if kernel else "this version has none"
    if reason:
        raise ConfigError(
            f"this run computes with the kernel of {kept}, which cannot be used here: {reason}; "
            f"{VARIABLE}=own in the environment goes on with our recurrence, which rounds differently"
        )
    return kept


def compute(kernels: Kernels, form: str, parts: Parts) -> Tensor:
    """Compute the recurrence of these arguments in the form; in ours unless precision is single."""
    if form == OWN or any(part.dtype != torch.float32 for part in parts):
        return kernels[0].own(*parts)
    kernel = next(each for each in kernels if each.package == form)
    return kernel.call(kernel.load(), *parts)


@functools.cache
def refusal(kernel: InstalledKernel, device: torch.device, sizes: tuple[int, ...]) -> str:
    """Return why the kernel is not to be used for layers of these sizes; empty where it agrees with ours."""
    if device.type not in kernel.devices():
        return f"it needs {' or '.join(kernel.devices())}, and the device is {device}"
    if missing := kernel.missing():
        return missing
    try:
        return _difference(kernel, device, sizes)
    except Exception as error:  # whatever another's code may raise: ours is there
        return f"{kernel.function} failed on a sample of sizes {sizes}: {type(error).__name__}: {error}"


_allowed = "auto"


@contextmanager
def allowed(kernels: str) -> Iterator[None]:
    """Let layers choose kernels (auto) or not (own), as `training.kernels` says; the variable wins.

    Complex scans are bound by a run (scan_choice.py), and afterwards what they were.
    """
    global _allowed
    before, _allowed = _allowed, kernels
    try:
        with scan_choice.bound(False):
            yield
    finally:
        _allowed = before


def _asked_for() -> str:
    asked = os.environ.get(VARIABLE, _allowed)
    if asked not in ("auto", OWN):
        raise ConfigError(f"{VARIABLE}={asked} in the environment: must be auto or {OWN}")
    return asked


def _difference(kernel: InstalledKernel, device: torch.device, sizes: tuple[int, ...]) -> str:
    """Return what differs between the kernel and our recurrence on a sample, output first."""
    draw = _source(device)
    sample, theirs_called = (
        kernel.sample(draw, SEQUENCES, STEPS, *sizes),
        functools.partial(kernel.call, kernel.load()),
    )
    if kernel.differentiable:
        parts = tuple(part.detach().requires_grad_() for part in sample)
        with torch.enable_grad():
            expected, actual = _with_gradients(kernel.own, parts), _with_gradients(theirs_called, parts)
    else:
        expected, actual = (kernel.own(*sample),), (theirs_called(*sample),)
    arguments = inspect.signature(kernel.own).parameters
    names = ("output", *(f"gradient of {name}" for name in arguments))
    for name, ours, theirs in zip(names, expected, actual, strict=False):
        if theirs.shape != ours.shape:
            return f"its {name} is {tuple(theirs.shape)}, ours {tuple(ours.shape)}"
        error = float((theirs - ours).norm() / ours.norm())
        if not error <= TOLERANCE:  # NaN, too
            return (
                f"its {name} differs by {error:.1e} of its norm, allowed are {TOLERANCE:.0e}{kernel.advice}"
            )
    return ""


def _source(device: torch.device) -> Function:
    """Return normal numbers of the same seed on every device, without touching PyTorch's own generators."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator).to(device)


def _with_gradients(function: Function, parts: Parts) -> Parts:
    y = function(*parts)
    weights = _source(y.device)(*y.shape)
    return y.detach(), *torch.autograd.grad((y * weights).sum(), parts)


def _call_selective(function: Function, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Call with time as the last axis; Δ is passed as it is, after its softplus."""
    x, delta, B, C = (part.transpose(1, 2).contiguous() for part in (x, delta, B, C))  # (batch, D or N, L)
    return function(x, delta, A.contiguous(), B, C).transpose(1, 2)


def _sample_selective(draw: Function, batch: int, length: int, channels: int, states: int) -> Parts:
    x, delta = draw(batch, length, channels), 0.1 * draw(batch, length, channels).sigmoid()
    A = -1.0 - (states - 1) * draw(channels, states).sigmoid()  # (D, N)
    return x, delta, A, draw(batch, length, states), draw(batch, length, states)


def _call_scalar_decay(
    function: Callable[..., Parts], q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor
) -> Tensor:
    """Call chunk_simple_gla, where each head has its keys and queries, scaled by 1 / √N by default."""
    each = v.shape[2] // q.shape[2]
    q, k = (part.repeat_interleave(each, dim=2) for part in (q, k))  # (batch, L, heads, N)
    return function(q, k, v, g=log_decay.expand(v.shape[:3]), scale=1.0)[0]


def _sample_scalar_decay(
    draw: Function, batch: int, length: int, groups: int, heads: int, states: int, values: int
) -> Parts:
    q, k = (draw(batch, length, groups, states) / states**0.5 for _ in range(2))
    return q, k, draw(batch, length, heads, values), _log_decays(draw, batch, length, heads)


def _call_channel_decay(
    function: Callable[..., Parts], q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor
) -> Tensor:
    """Call a version without head_first, whose layout is ours; older ones scan over heads and are refused."""
    return function(q, k, v, log_decay, scale=1.0)[0]


def _sample_channel_decay(
    draw: Function, batch: int, length: int, heads: int, states: int, values: int
) -> Parts:
    q, k = (draw(batch, length, heads, states) / states**0.5 for _ in range(2))
    return q, k, draw(batch, length, heads, values), _log_decays(draw, batch, length, heads, states)


def _call_delta_rule(
    function: Callable[..., Parts], q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor
) -> Tensor:
    """Call a version that takes single precision; older ones refuse it, and ours is used."""
    return function(q, k, v, g=log_decay, beta=beta, scale=1.0)[0]


def _sample_delta_rule(
    draw: Function, batch: int, length: int, heads: int, states: int, values: int
) -> Parts:
    q, k = (functional.normalize(draw(batch, length, heads, states), dim=-1) for _ in range(2))
    beta = draw(batch, length, heads).sigmoid()
    return q, k, draw(batch, length, heads, values), beta, _log_decays(draw, batch, length, heads)


def _log_decays(draw: Function, *shape: int) -> Tensor:
    """Return log decays in (−1, 0), as heads of these families have at the start."""
    return -draw(*shape).sigmoid()


def _call(function: Function, *parts: Tensor) -> Tensor:
    """Call a kernel in C, whose arguments are ours."""
    return function(*parts)


def _scans(x: Tensor, decay: Tensor, before: Tensor) -> Tensor:
    """Return the states (L, M) scanned forwards and from the end, (2 L, M), in PyTorch."""
    with scan_choice.bound(False):
        return _both_ways(diagonal._scan_in_place, x, decay, before)


def _call_scans(function: Function, *parts: Tensor) -> Tensor:
    return _both_ways(function, *parts)


def _both_ways(scan: Function, x: Tensor, decay: Tensor, before: Tensor) -> Tensor:
    forth, back = x.clone(), x.clone()
    scan(forth, decay, before, reverse=False)
    scan(back, decay, before, reverse=True)
    return torch.cat([forth, back])


def _sample_scans(draw: Function, batch: int, length: int, columns: int) -> Parts:
    x, before = (torch.complex(draw(*shape), draw(*shape)) for shape in ((length, columns), (columns,)))
    return x, torch.polar(draw(columns).sigmoid() ** 0.1, draw(columns)), before  # |λ| near 1


MAMBA_SSM, FLA = "mamba-ssm", "flash-linear-attention"
DISTRIBUTIONS = {FLA: ("fla-core", FLA)}
"""What is installed for a form: since 0.6 the operations of flash-linear-attention are in fla-core."""
_TF32 = "; if that is TF32, TRITON_F32_DEFAULT=ieee in the environment makes Triton multiply in float32"

SELECTIVE = InstalledKernel(
    MAMBA_SSM, "mamba_ssm.ops.selective_scan_interface", "selective_scan_fn",
    selective_scan, _call_selective, _sample_selective,
)  # fmt: skip
"""Sizes: channels D, states N."""
SCALAR_DECAY = InstalledKernel(
    FLA, "fla.ops.simple_gla", "chunk_simple_gla",
    scalar_decay_scan, _call_scalar_decay, _sample_scalar_decay, _TF32,
)  # fmt: skip
"""Sizes: groups, heads, states N, values P."""
CHANNEL_DECAY = InstalledKernel(
    FLA, "fla.ops.gla", "chunk_gla", channel_decay, _call_channel_decay, _sample_channel_decay, _TF32
)
"""Sizes: heads, d_k, d_v."""
DELTA_RULE = InstalledKernel(
    FLA, "fla.ops.gated_delta_rule", "chunk_gated_delta_rule",
    delta_rule, _call_delta_rule, _sample_delta_rule, _TF32,
)  # fmt: skip
"""Sizes: heads, d_k, d_v."""
_OURS_IN_C = "hankelboard.trainer.layers.recurrences.c_kernels.functions"

C_SELECTIVE = InstalledKernel(C, _OURS_IN_C, "selective_scan", selective_scan, _call, _sample_selective)
C_SCALAR_DECAY = InstalledKernel(
    C, _OURS_IN_C, "scalar_decay_scan", scalar_decay_scan, _call, _sample_scalar_decay
)
C_CHANNEL_DECAY = InstalledKernel(C, _OURS_IN_C, "channel_decay", channel_decay, _call, _sample_channel_decay)
C_DELTA_RULE = InstalledKernel(C, _OURS_IN_C, "delta_rule", delta_rule, _call, _sample_delta_rule)
C_SCANS = InstalledKernel(
    C, _OURS_IN_C, "scan_in_place", _scans, _call_scans, _sample_scans, differentiable=False
)
"""Sizes: columns. Gradients are scans, too: from the end."""
KERNELS = (SELECTIVE, SCALAR_DECAY, CHANNEL_DECAY, DELTA_RULE)
"""Those of packages."""
C_KERNELS = (C_SELECTIVE, C_SCALAR_DECAY, C_CHANNEL_DECAY, C_DELTA_RULE, C_SCANS)
SCAN_COLUMNS = 600
"""Of the sample of complex scans: a strip of the kernel, and a part of one."""


def choose_scan(kept: str | None, device: torch.device) -> str:
    """Return what computes scans of complex states, as `choose` does."""
    return choose((C_SCANS,), kept, device, (SCAN_COLUMNS,))


def not_in_c(device: torch.device) -> str:
    """Return why layers on this device do without kernels in C, where those were asked for; else ""."""
    asked = device.type == "cpu" and _asked_for() != OWN
    return library().reason if asked else ""


def kernel_versions() -> dict[str, str]:
    """Return the versions of the packages that are installed: they round as their version does."""
    versions = {}
    for package in dict.fromkeys(family.kernel_package for family in FAMILIES.values()):
        for name in DISTRIBUTIONS.get(package, (package,)):
            with contextlib.suppress(
                metadata.PackageNotFoundError, ValueError
            ):  # ValueError: no package at all
                versions[name] = metadata.version(name)
    return versions
