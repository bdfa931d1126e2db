"""Claim: a training step of an LRU network is at least 20 times faster than that of the same network with
JAX's associative scan at the shape of sequential MNIST, and at least 3 times faster where the layer is wide.

The reference is written here as the LRU is published: one sequence at a time under vmap, complex states,
`jax.lax.associative_scan` of (λ, B u), then Re(C x). Both networks begin with the same weights, and their
losses agree to 1e-5 in the first updates. Jitted; value, gradients and plain gradient descent; in turns of
two steps each, of which the second counts: as in training, a step follows one of its kind.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn import functional

from benchmarks.repetitions import Missing, Spent, alternating, ratio, spent, spread
from hankelboard.trainer.layers.lru import LRU
from hankelboard.trainer.layers.network import SequenceModel

# name: batch, length, width, state_dim, at least
SHAPES = {"sMNIST": (50, 784, 8, 256, 20), "wide": (8, 1024, 256, 384, 3)}
ROUNDS = 5
RATE = 1e-3
CLASSES = 10
EPSILON = 1e-5


def rows() -> list[tuple[str, ...]]:
    head = ("shape", "ours, ms", "JAX, ms", "JAX / ours", "of processor time", "at least", "form",
            "largest difference of losses")  # fmt: skip
    if find_spec("jax") is None:
        raise Missing(
            "JAX is not installed: run `.venv/bin/python -m pip install -c constraints.txt -e '.[bench]'`"
        )
    return [head, *(row(name, *shape) for name, shape in SHAPES.items())]


def row(name: str, batch: int, length: int, width: int, state_dim: int, least: int) -> tuple[str, ...]:
    torch.manual_seed(0)
    network = SequenceModel(
        input_dim=1, classes=CLASSES, width=width, layers=1, mixer=lambda: LRU(width, state_dim)
    )
    x, labels = torch.randn(batch, length, 1), torch.randint(0, CLASSES, (batch,))
    ours, theirs = our_step(network, x, labels), jax_step(network, x, labels)
    apart = max(abs(ours() - theirs()) for _ in range(3))
    assert apart < 1e-5, f"the two networks are not the same: losses differ by {apart:.1e}"
    found = alternating({"ours": lambda: second(ours), "JAX": lambda: second(theirs)}, ROUNDS)
    wall = {side: [one.wall for one in times] for side, times in found.items()}
    cpu = {side: [one.cpu for one in times] for side, times in found.items()}
    form = str(getattr(network.blocks[0].mixer, "form_used", ""))
    return (
        f"{name}: 1 × N {state_dim}, H {width}, L {length}, batch {batch}",
        spread(wall["ours"], 1e3), spread(wall["JAX"], 1e3, 0), ratio(wall["JAX"], wall["ours"]),
        ratio(cpu["JAX"], cpu["ours"]), f"{least} x", form, f"{apart:.0e}",
    )  # fmt: skip


def second(step: Callable[[], float]) -> Spent:
    """A step behind another one of its kind, as in training: caches and threads are those of the own side."""
    step()
    return spent(step)


def our_step(network: SequenceModel, x: torch.Tensor, labels: torch.Tensor) -> Callable[[], float]:
    """One update; returns the loss before it."""
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)

    def step() -> float:
        loss = functional.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def jax_step(network: SequenceModel, x: torch.Tensor, labels: torch.Tensor) -> Callable[[], float]:
    """The same update of the same network in JAX, from a copy of its weights."""
    import jax
    import jax.numpy as jnp

    weights = {name: jnp.asarray(value.detach().numpy()) for name, value in network.named_parameters()}
    data, classes = jnp.asarray(x.numpy()), jnp.asarray(labels.numpy())

    def loss(p: dict[str, Any]) -> Any:
        logits = jax.nn.log_softmax(jax_network(p, data))
        return -jnp.take_along_axis(logits, classes[:, None], axis=1).mean()

    @jax.jit
    def update(p: dict[str, Any]) -> Any:
        value, gradients = jax.value_and_grad(loss)(p)
        return value, jax.tree.map(lambda weight, gradient: weight - RATE * gradient, p, gradients)

    def step() -> float:
        nonlocal weights
        value, weights = jax.block_until_ready(update(weights))
        return float(value)

    return step


def jax_network(p: dict[str, Any], x: Any) -> Any:
    """Logits (batch, classes) of inputs (batch, L, 1): `SequenceModel` with one block."""
    import jax
    import jax.numpy as jnp

    h = x @ p["encoder.weight"].T + p["encoder.bias"]  # (batch, L, H)
    mean, variance = h.mean((0, 1)), h.var((0, 1))  # (H,)
    layer = {name.rpartition(".")[2]: value for name, value in p.items() if "mixer" in name}
    z = jax.vmap(lambda u: jax_lru(layer, u))((h - mean) / jnp.sqrt(variance + EPSILON))  # (batch, L, H)
    z = jax.nn.gelu(z, approximate=False)
    z = jax.nn.glu(z @ p["blocks.0.glu.weight"].T + p["blocks.0.glu.bias"])  # (batch, L, H)
    return (h + z).mean(1) @ p["head.weight"].T + p["head.bias"]


def jax_lru(p: dict[str, Any], u: Any) -> Any:
    """y (L, H) of one sequence u (L, H)."""
    import jax
    import jax.numpy as jnp

    eigenvalues = jnp.exp(-jnp.exp(p["nu_log"]) + 1j * jnp.exp(p["theta_log"]))  # (N,)
    B = jnp.exp(p["gamma_log"])[:, None] * (p["B_re"] + 1j * p["B_im"])  # (N, H)
    C = p["C_re"] + 1j * p["C_im"]  # (H, N)
    decays = jnp.repeat(eigenvalues[None], u.shape[0], axis=0)  # (L, N)
    driven = jax.vmap(lambda v: B @ v)(u)  # (L, N)
    _, states = jax.lax.associative_scan(
        lambda left, right: (left[0] * right[0], right[0] * left[1] + right[1]), (decays, driven)
    )
    return jax.vmap(lambda x, v: (C @ x).real + p["D"] * v)(states, u)


if __name__ == "__main__":
    for line in rows():
        print(" | ".join(line))
