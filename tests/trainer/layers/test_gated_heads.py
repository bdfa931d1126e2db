"""What holds for GLA and gated DeltaNet alike: heads whose states are measured before they are cut."""

from dataclasses import dataclass

import pytest
import torch

from hankelboard.trainer.compression.checkpoint import load_tensors
from hankelboard.trainer.reduction.reducible import Reducible
from hankelboard.trainer.reduction.surgery import apply_reduction, reducible_layers
from tests.trainer.layers.test_deltanet import deltanet
from tests.trainer.layers.test_gla import gla, inputs


@dataclass(frozen=True)
class Family:
    make: object
    core: str
    """Name of the part of the layer that is cut."""
    importance: str

    def layer(self, **options):
        """A layer, and its part that is cut."""
        layer = self.make(**options)
        return layer, getattr(layer, self.core)


@pytest.fixture(
    params=[
        pytest.param(Family(gla, "attention", "output_energy"), id="gla"),
        pytest.param(Family(deltanet, "rule", "key_query_energy"), id="deltanet"),
    ]
)
def family(request):
    return request.param


def test_it_does_not_look_ahead(family):
    (layer, _), x = family.layer(), inputs()
    changed = x.clone()
    changed[:, 12:] += 1.0
    with torch.no_grad():
        before, after = layer(x), layer(changed)
    assert torch.allclose(before[:, :12], after[:, :12], atol=1e-13)
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_what_is_cut_is_the_recurrence(family):
    ((name, core),) = reducible_layers(family.make())
    assert name == family.core
    assert isinstance(core, Reducible)
    assert core.offers("observing")
    assert (core.state_dim, core.importance) == (8, family.importance)


def test_without_calibration_nothing_is_said(family):
    _, core = family.layer()
    with pytest.raises(ValueError, match="not calibrated"):
        core.extract()
    with pytest.raises(ValueError, match="no calibration sequence"), core.observing():
        pass


def test_a_layer_of_another_size_takes_the_shapes_of_a_checkpoint(family):
    (layer, core), x = family.layer(), inputs()
    with torch.no_grad(), core.observing():
        layer(x)
    apply_reduction(core, None, core.reduce(core.extract(), 3))
    for state_dim in (8, 3):
        other, other_core = family.layer(seed=1, state_dim=state_dim)
        load_tensors(other, None, layer.state_dict())
        assert other_core.state_dim == 3
        assert torch.equal(other(x), layer(x))
        assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in layer.parameters()]


def test_measuring_changes_no_output_and_no_state_dict(family):
    (layer, core), x = family.layer(), inputs()
    names, wanted = list(layer.state_dict()), layer(x)
    with torch.no_grad(), core.observing():
        assert torch.equal(layer(x), wanted)
    assert list(layer.state_dict()) == names
