"""One step of the leaky integrators: x ← a ∘ x + B u, y = C x, a = sigmoid(a_raw)."""


def step(layer, u, x=0.0):
    x = layer.a_raw.sigmoid() * x + u @ layer.B.T
    return x @ layer.C.T, x
