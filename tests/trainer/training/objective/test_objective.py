"""What training minimises when a configuration asks for more than cross-entropy."""

import math

import pytest
import torch
from torch import nn

from hankelboard.settings.config import DistillationConfig, RegularisationConfig
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.data.task import Split
from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.layers.network import SequenceModel
from hankelboard.trainer.reduction.surgery import apply_reduction
from hankelboard.trainer.training.objective import Objective
from hankelboard.trainer.training.objective.distillation import Distillation
from hankelboard.trainer.training.objective.nuclear_norm import hankel_nuclear_norm
from hankelboard.trainer.training.objective.regularisation import HankelRegulariser


class Fixed(nn.Module):
    """A teacher that predicts the same logits for everything."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x):
        return self.logits.expand(len(x), -1)


def split(count=4):
    return Split(torch.zeros(count, 3, 1), torch.zeros(count, dtype=torch.int64))


def test_the_distillation_loss_is_the_formula_by_hand():
    config = DistillationConfig(temperature=2.0, share=0.5)
    distillation = Distillation(config, Fixed(2.0, 0.0), split(), classes=2)
    logits, labels, chosen = torch.tensor([[0.0, 1.0]]), torch.tensor([0]), torch.tensor([3])
    hard = math.log(1.0 + math.e)
    teacher = [math.e / (1 + math.e), 1 / (1 + math.e)]
    student = [1 / (1 + math.exp(0.5)), math.exp(0.5) / (1 + math.exp(0.5))]
    soft = sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))
    assert distillation.loss(logits, labels, chosen).item() == pytest.approx(0.5 * hard + 0.5 * 4.0 * soft)


def test_a_student_like_its_teacher_pays_for_the_labels_only():
    config = DistillationConfig(share=0.5)
    distillation = Distillation(config, Fixed(2.0, 0.0), split(), classes=2)
    logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    expected = 0.5 * nn.functional.cross_entropy(logits, labels).item()
    assert distillation.loss(logits, labels, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5)


def test_a_teacher_with_other_classes_is_refused():
    with pytest.raises(ConfigError, match="2 classes, not 3"):
        Distillation(DistillationConfig(teacher="run"), Fixed(0.0, 0.0), split(), classes=3)


def model(state_dim=8):
    torch.manual_seed(0)
    return SequenceModel(input_dim=1, classes=2, width=4, layers=2, mixer=lambda: LRU(4, state_dim))


def test_a_model_without_linear_systems_cannot_be_regularised():
    with pytest.raises(ConfigError, match="no layer that is a linear system"):
        HankelRegulariser(RegularisationConfig(hankel_nuclear=1.0), nn.Linear(2, 2))


@pytest.mark.parametrize("form", ["naive", "majoriser"])
def test_the_term_is_the_weight_times_the_norms_of_all_layers(form):
    network = model()
    config = RegularisationConfig(hankel_nuclear=0.5, form=form)
    norms = [hankel_nuclear_norm(*block.mixer.system()).item() for block in network.blocks]
    assert HankelRegulariser(config, network).loss(0).item() == pytest.approx(0.5 * sum(norms), rel=1e-5)


def test_majorisers_are_refreshed_in_their_rhythm_and_after_a_cut():
    network = model()
    regulariser = HankelRegulariser(RegularisationConfig(hankel_nuclear=1.0, refresh=10), network)
    regulariser.loss(0)
    first = regulariser.state_dict()
    network.blocks[0].mixer.nu_log.data += 0.1
    regulariser.loss(9)
    assert all(torch.equal(first[name], tensor) for name, tensor in regulariser.state_dict().items())
    regulariser.loss(10)
    assert not torch.equal(first["0/eigenvalues"], regulariser.state_dict()["0/eigenvalues"])
    layer = network.blocks[0].mixer
    apply_reduction(layer, None, layer.reduce(layer.extract(), 3))
    regulariser.loss(11)
    assert len(regulariser.state_dict()["0/eigenvalues"]) == 3


def test_a_restored_objective_has_the_same_bounds():
    network = model()
    config = RegularisationConfig(hankel_nuclear=1.0)
    objective = Objective(regulariser=HankelRegulariser(config, network))
    logits, labels = torch.zeros(1, 2), torch.tensor([0])
    objective.loss(logits, labels, labels, 0)
    network.blocks[0].mixer.nu_log.data += 0.1
    expected = objective.loss(logits, labels, labels, 1)
    other = Objective(regulariser=HankelRegulariser(config, network))
    other.load_state_dict(objective.state_dict())
    assert torch.equal(other.loss(logits, labels, labels, 1), expected)
    fresh = Objective(regulariser=HankelRegulariser(config, network)).loss(logits, labels, labels, 1)
    assert fresh < expected
