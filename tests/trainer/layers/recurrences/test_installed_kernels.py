"""Kernels of other packages: what is passed to them, when they are refused, and that a run keeps its own.

tests/trainer/stand_ins has functions of their signatures, plain loops written from the documented formulas.
Whether the packages themselves agree can be seen on a GPU only: the last test.
"""

import importlib.util
import sys
import warnings
from pathlib import Path

import pytest
import torch

from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.compression.provenance import versions
from hankelboard.trainer.layers.mamba import SelectiveSSM
from hankelboard.trainer.layers.recurrences import installed_kernels
from hankelboard.trainer.layers.recurrences.installed_kernels import (
    CHANNEL_DECAY,
    DELTA_RULE,
    FLA,
    KERNELS,
    MAMBA_SSM,
    OWN,
    SCALAR_DECAY,
    SELECTIVE,
    choose,
    compute,
    refusal,
)

STAND_INS = Path(__file__).parents[2] / "stand_ins"
CPU = torch.device("cpu")
SIZES = {SELECTIVE: (5, 3), SCALAR_DECAY: (2, 4, 3, 5), CHANNEL_DECAY: (2, 3, 5), DELTA_RULE: (2, 3, 5)}
WITH_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU and the packages")


@pytest.fixture
def cpu(monkeypatch):
    """The CPU counts as a device that packages are for; what was found out about one is forgotten after."""
    monkeypatch.setattr(installed_kernels, "DEVICES", ("cpu",))
    monkeypatch.delenv(installed_kernels.VARIABLE, raising=False)
    refusal.cache_clear()
    yield
    refusal.cache_clear()


@pytest.fixture
def stand_ins(cpu, monkeypatch):
    """The stand-ins as if they were installed."""
    monkeypatch.syspath_prepend(str(STAND_INS))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mamba_ssm", "fla")]:
        del sys.modules[name]


def chosen(kernel=SELECTIVE, kept=None):
    return choose((kernel,), kept, CPU, SIZES[kernel])


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.function)
@pytest.mark.parametrize("length", [1, 23])
def test_layouts_and_scales_are_those_of_the_package(stand_ins, kernel, length):
    """Output and gradients, because agreement is what lets a kernel be chosen."""
    assert chosen(kernel) == kernel.package
    parts = kernel.sample(installed_kernels._source(CPU), 3, length, *SIZES[kernel])
    y, wanted = compute((kernel,), kernel.package, parts), compute((kernel,), OWN, parts)
    assert y.shape == wanted.shape and torch.allclose(y, wanted, atol=1e-5)
    assert length == 1 or not torch.equal(y, wanted)


def test_a_decay_that_is_constant_in_time_is_given_at_every_step(stand_ins):
    q, k, v, log_decay = SCALAR_DECAY.sample(installed_kernels._source(CPU), 3, 9, 2, 4, 3, 5)
    parts = (q, k, v, log_decay[0, 0])
    assert torch.allclose(
        compute((SCALAR_DECAY,), FLA, parts), compute((SCALAR_DECAY,), OWN, parts), atol=1e-5
    )


def test_the_comparison_leaves_generators_and_gradients_alone(stand_ins):
    layer, before = SelectiveSSM(4, 3, 1), torch.get_rng_state()
    with torch.no_grad():
        assert chosen() == MAMBA_SSM
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_double_precision_is_ours(stand_ins):
    parts = tuple(part.double() for part in SELECTIVE.sample(installed_kernels._source(CPU), 2, 9, 5, 3))
    assert torch.equal(compute((SELECTIVE,), MAMBA_SSM, parts), compute((SELECTIVE,), OWN, parts))


def test_a_kernel_that_differs_is_not_used_and_the_warning_says_by_how_much(stand_ins, monkeypatch):
    import mamba_ssm.ops.selective_scan_interface as package

    monkeypatch.setattr(package, "FACTOR", 1.001)
    with pytest.warns(RuntimeWarning, match=r"mamba-ssm is not used: its output differs by 1\.0e-03"):
        assert chosen() == OWN


def test_a_kernel_with_wrong_gradients_is_not_used(stand_ins, monkeypatch):
    import fla.ops.gated_delta_rule as package

    right = package.chunk_gated_delta_rule
    monkeypatch.setattr(
        package,
        "chunk_gated_delta_rule",
        lambda q, k, v, g, beta, scale: right(q, k, v, g, beta.detach() + 0 * beta, scale),
    )
    with pytest.warns(RuntimeWarning, match=r"its gradient of beta differs by 1\.0e\+00.*TRITON_F32_DEFAULT"):
        assert chosen(DELTA_RULE) == OWN


@pytest.mark.parametrize("result", [float("nan"), None])
def test_a_kernel_without_finite_numbers_or_with_an_error_is_not_used(stand_ins, monkeypatch, result):
    import mamba_ssm.ops.selective_scan_interface as package

    monkeypatch.setattr(package, "FACTOR", result)
    reason = "differs by nan" if result else "selective_scan_fn failed on a sample of sizes"
    with pytest.warns(RuntimeWarning, match=reason):
        assert chosen() == OWN


def test_without_a_package_nothing_is_said(cpu):
    assert importlib.util.find_spec("mamba_ssm") is None, "this test is for machines without it"
    with warnings.catch_warnings(action="error"):
        assert chosen() == OWN


def test_other_devices_never_look_for_packages(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", None)
    assert chosen() == OWN


def test_each_set_of_sizes_is_compared_once(stand_ins, monkeypatch):
    seen, compared = [], installed_kernels._difference
    monkeypatch.setattr(installed_kernels, "_difference", lambda *a: seen.append(a[2]) or compared(*a))
    for sizes in ((5, 3), (5, 3), (5, 2), (5, 3)):
        choose((SELECTIVE,), None, CPU, sizes)
    assert seen == [(5, 3), (5, 2)]


def test_ours_can_be_asked_for(stand_ins, monkeypatch):
    monkeypatch.setenv("HANKELBOARD_KERNELS", "own")
    assert chosen() == chosen(kept=MAMBA_SSM) == OWN
    monkeypatch.setenv("HANKELBOARD_KERNELS", "mine")
    with pytest.raises(ConfigError, match="HANKELBOARD_KERNELS=mine in the environment: must be auto or own"):
        chosen()


def test_versions_of_installed_packages_are_told(tmp_path, monkeypatch):
    assert installed_kernels.kernel_versions() == {}
    for name, version in (("mamba-ssm", "2.2.4"), ("fla-core", "0.6.0")):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert versions()["mamba-ssm"] == "2.2.4"
    assert versions()["fla-core"] == "0.6.0"  # of the form flash-linear-attention: its operations are there


def mamba_run(small_run):
    """Four steps, a cut, four steps."""
    return small_run(
        model={"family": "mamba", "layers": 1, "width": 4, "state_dim": 6},
        training={"steps": 8},
        reduction={"tolerance": 0.3, "steps": [4]},
    )


def forms(run):
    return [event["forms"] for event in run.events("kernel_chosen")]


def stopped(small_run):
    run = mamba_run(small_run)
    run.send("stop", at_step=6)
    assert run.train() == "stopped"
    run.send("resume")
    return run


def test_a_run_with_a_kernel_records_it_and_resumes_with_the_same_bits(small_run, stand_ins):
    whole, parted = mamba_run(small_run), stopped(small_run)
    assert whole.train() == parted.train() == "finished"
    assert whole.events("reduction_applied") and forms(whole) == forms(parted) == [[MAMBA_SSM]] * 2
    assert parted.final_weights() == whole.final_weights()


def test_a_run_that_began_without_a_kernel_goes_on_without_it(small_run, cpu, request):
    whole, parted = mamba_run(small_run), stopped(small_run)
    assert whole.train() == "finished"
    refusal.cache_clear()
    request.getfixturevalue("stand_ins")
    assert parted.train() == "finished"
    assert forms(parted) == [[OWN]] * 2
    assert parted.final_weights() == whole.final_weights()


def test_a_run_that_lost_its_kernel_says_so_and_goes_on_when_told(small_run, stand_ins, monkeypatch):
    run = stopped(small_run)
    refusal.cache_clear()
    monkeypatch.setattr(installed_kernels, "DEVICES", ("cuda",))
    assert run.train() == "failed"
    (event,) = run.events("run_failed")
    assert event["reason"].startswith(
        "this run computes with the kernel of mamba-ssm, which cannot be used here: it needs cuda"
    )
    monkeypatch.setenv("HANKELBOARD_KERNELS", "own")
    run.send("resume")
    assert run.train() == "finished"
    assert forms(run) == [[MAMBA_SSM], [MAMBA_SSM], [OWN]]


@WITH_GPU
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.function)
def test_an_installed_package_agrees_with_ours(kernel):
    if importlib.util.find_spec(kernel.module.partition(".")[0]) is None:
        pytest.skip(f"needs a CUDA GPU and {kernel.package}")
    sizes = {SELECTIVE: (48, 16), SCALAR_DECAY: (2, 4, 16, 32)}.get(kernel, (2, 16, 32))
    assert refusal(kernel, torch.device("cuda", 0), sizes) == ""
