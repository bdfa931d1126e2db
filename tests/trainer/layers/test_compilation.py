"""Compiling changes the speed of training: neither its losses, nor what is saved and cut."""

import copy
import functools

import pytest
import torch
from torch._dynamo.utils import counters

from hankelboard.settings.config import parse
from hankelboard.settings.families import FAMILIES
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.compression.calibration import calibrate
from hankelboard.trainer.compression.what_if import cut
from hankelboard.trainer.data.task import Split, Task
from hankelboard.trainer.layers.compilation import CUDA_GRAPHS, Compiled
from hankelboard.trainer.training.model import build_model
from tests.trainer.layers.recurrences.test_precision import KEYS, drawn, loss_and_gradients, network

pytestmark = [  # PyTorch's own, while it compiles
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method"),
]


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


@pytest.fixture
def traced_only(monkeypatch):
    """Graphs are found and run as they are: no code is generated, which takes seconds for each."""
    compile = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda model, dynamic, options: compile(model, dynamic=dynamic, backend="eager")
    )


def graphs():
    return counters["stats"]["unique_graphs"]


def step(forward, model, split):
    """Loss and gradients of a training step through `forward`."""
    model.train()
    stand_in = functools.partial(forward)
    stand_in.zero_grad, stand_in.named_parameters = model.zero_grad, model.named_parameters
    return loss_and_gradients(stand_in, split, "float32")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_compiled_once_for_each_set_of_state_dimensions(traced_only, family):
    """Although it is evaluated and measured between the steps; no loop over time becomes part of a graph."""
    model, split = network(family)
    made = []
    for rank in (6, 4):
        if rank < 6:
            cut(calibrate(model, split.inputs), None, [rank, rank], "reset")
        compiled, wanted = Compiled(model), step(model, model, split)
        for _ in range(2):
            loss, gradients = step(compiled, model, split)
            assert loss == wanted[0]
            assert all(torch.equal(gradients[name], each) for name, each in wanted[1].items())
            made.append(graphs())
            calibrate(model, split.inputs).eval()(split.inputs)
    once = made[0]
    assert made == [once, once, 2 * once, 2 * once]
    assert counters["stats"]["calls_captured"] < 2 * 60


def test_more_cuts_than_pytorch_keeps_versions_of_a_function(traced_only):
    model, split = network("mamba", state_dim=9)
    made = []
    for rank in range(9, 0, -1):
        cut(calibrate(model, split.inputs), None, [rank, rank], "reset")
        step(Compiled(model), model, split)
        made.append(graphs())
    assert made == [made[0] * count for count in range(1, 10)]


def test_a_compiled_run_has_the_losses_of_a_plain_one_and_resumes_with_the_same_bits(small_run):
    """With dropout, over a cut. The code of a graph takes about 10 s, once on a machine."""
    training = {"steps": 20, "log_every": 1, "compile": True}
    keys = {"model": {"norm": "layer"}, "reduction": {"tolerance": 0.3, "steps": [10]}}
    plain, whole, parted = (
        small_run(**keys, training={**training, "compile": compile}) for compile in (False, True, True)
    )
    assert plain.train() == "finished" and graphs() == 0
    parted.send("stop", at_step=8)
    assert parted.train() == "stopped"
    once = graphs()
    assert whole.train() == "finished" and graphs() - once == 2 * once  # before and after the cut
    assert whole.events("reduction_applied")
    assert len(plain.live_path()) == len(whole.live_path()) == 21
    for wanted, seen in zip(plain.live_path(), whole.live_path(), strict=True):
        assert seen == pytest.approx(wanted, rel=1e-5)
    parted.send("resume")
    assert parted.train() == "finished"
    assert parted.final_weights() == whole.final_weights()


def badly_compiled(monkeypatch, change):
    """torch.compile makes a forward pass whose logits are changed."""
    monkeypatch.setattr(torch, "compile", lambda model, dynamic, options: lambda x: change(model(x)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: 1.001 * logits, r"its logits differ by 1\.0e-03"),
        (lambda logits: logits.detach() + 0.9 * (logits - logits.detach()), r"gradients differ by 1\.0e-01"),
        (lambda logits: float("nan") * logits, "logits differ by nan"),
    ],
)
def test_code_with_other_results_is_not_used(monkeypatch, change, message):
    badly_compiled(monkeypatch, change)
    model, split = network("mamba")
    wanted, compiled = step(model, model, split), Compiled(model)
    with pytest.warns(RuntimeWarning, match=message):
        loss, gradients = step(compiled, model, split)
    assert loss == wanted[0]
    assert all(torch.equal(gradients[name], each) for name, each in wanted[1].items())


def test_a_model_that_diverged_blames_nobody(traced_only):
    model, split = network("mamba")
    torch.nn.init.constant_(model.head.bias, float("nan"))
    assert Compiled(model)(split.inputs).isnan().all()


def test_the_comparison_leaves_generators_statistics_and_gradients_alone(traced_only):
    """Dropout and batch norm: the first step is the first one."""
    split = Split(drawn(5, 37, 3), torch.arange(5) % 4)
    keys = {**KEYS["model"], "family": "mamba", "norm": "batch", "dropout": 0.5}
    torch.manual_seed(0)
    model = build_model(parse({"model": keys}), Task(split, split, split, classes=4))
    start = copy.deepcopy(model.state_dict())
    results = []
    for forward in (model, Compiled(model)):
        model.load_state_dict(start)
        torch.manual_seed(1)
        loss, _ = step(forward, model, split)
        results.append((loss, torch.get_rng_state(), copy.deepcopy(model.state_dict())))
    (loss, state, after), (wanted, wanted_state, wanted_after) = results
    assert loss == wanted and torch.equal(state, wanted_state)
    assert all(torch.equal(after[name], wanted_after[name]) for name in after)
    assert not torch.equal(after["blocks.0.norm.running_mean"], start["blocks.0.norm.running_mean"])


def test_cuda_graphs_are_what_pytorch_calls_reduce_overhead():
    assert torch._inductor.list_mode_options("reduce-overhead") == CUDA_GRAPHS


def test_cuda_graphs_without_cuda_are_an_error(small_run):
    training = {"steps": 2, "compile": True, "cuda_graphs": True}
    run = small_run(training=training, reduction={"attempts": 0, "steps": []})
    assert run.train() == "failed"
    (event,) = run.events("run_failed")
    assert event["reason"] == (
        "training.cuda_graphs = true: the device is cpu; "
        "set training.device = cuda or training.cuda_graphs = false"
    )


def test_cuda_graphs_are_of_compiled_code():
    with pytest.raises(ConfigError, match=r"training\.cuda_graphs = true: needs training\.compile = true"):
        parse({"training": {"cuda_graphs": True}})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("family", FAMILIES)
def test_replayed_graphs_train_as_the_plain_model(family):
    """More steps than the graphs need to be recorded; a warning would be an error."""
    plain, graphs = (network(family)[0].cuda() for _ in range(2))
    split = network(family)[1].to(torch.device("cuda"))
    compiled = Compiled(graphs, cuda_graphs=True)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (plain, graphs)]
    for _ in range(6):
        losses = [step(plain, plain, split)[0], step(compiled, graphs, split)[0]]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        for optimizer in optimizers:
            optimizer.step()


def test_a_machine_that_cannot_compile_is_told_what_to_do(small_run, monkeypatch, tmp_path):
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "no code from before"))
    run = small_run(training={"steps": 2, "compile": True}, reduction={"attempts": 0, "steps": []})
    with config.patch({"cpp.cxx": (None, str(tmp_path / "no compiler"))}):
        assert run.train() == "failed"
    (event,) = run.events("run_failed")
    assert event["reason"].startswith("training.compile = true: PyTorch could not compile the model")
    assert event["reason"].endswith("or set training.compile = false")
