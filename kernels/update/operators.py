"""One step of an optimiser on one parameter.

Each operator takes the parameter p, its gradient g and the optimiser's state, and gives the new parameter and state. In place:
pass the same arrays in the same order as ``out``. With ``maximize`` the gradient's sign is turned. Weight decay adds
``weight_decay * p`` to the gradient or, ``decoupled``, takes ``lr * weight_decay * p`` off the parameter. A state that is absent is
left out of the formula.

sgd        b = momentum b + (1 - dampening) g;  p -= lr (g + momentum b  if nesterov else  b);  b = g in the first step
adagrad    s += g^2;                            p -= lr g / (sqrt(s) + eps)
adadelta   s = rho s + (1 - rho) g^2;           d = g sqrt(a + eps) / sqrt(s + eps);  a = rho a + (1 - rho) d^2;  p -= lr d
rmsprop    s = alpha s + (1 - alpha) g^2;       mean = alpha mean + (1 - alpha) g;
           d = g / (sqrt(s - mean^2) + eps);    b = momentum b + d;  p -= lr b
adam       m = beta1 m + (1 - beta1) g;         v = beta2 v + (1 - beta2) g^2;  v_max = max(v_max, v)
           p -= lr m / c1 / (sqrt(v_max / c2) + eps),  c = 1 - beta^step; with eps_hat  p -= lr sqrt(c2) m / c1 / (sqrt(v_max) + eps)
nadam      m, v as for adam;                    p -= (gradient_rate g + momentum_rate m) / (sqrt(v / c2) + eps)
"""

from math import prod
from typing import Any

from ..operator import Cost, Draw, Operator, traffic

SHAPES = ((1,), (37, 3), (0,), (300, 401))

# How an example draws a state: first moments are normal, second moments positive, and above the square of the drawn mean.
DRAWS: dict[str, tuple[Any, ...]] = {
    "s": ("uniform", 0.5, 2.0), "a": ("uniform", 0.5, 2.0), "v": ("uniform", 0.5, 2.0), "v_max": ("uniform", 0.5, 2.0),
    "mean": ("uniform", 0.0, 0.5), "m": ("normal",), "b": ("normal",),
}  # fmt: skip


def _update(name, state, options, flops, roots, settings, optional=()):
    """An update of p and its state, with attributes ``options`` (name: value in the first example).

    ``flops(states that are there, options)`` is the work for each element besides weight decay, ``roots`` the number of square roots.
    Each setting makes one example: the options that it changes, and under "absent" the states that are None.
    """

    def cost(itemsize, p, g, *rest):
        states = rest[: len(state)]
        given = options | dict(zip(options, rest[len(state) :], strict=False))
        decay = 1 if given.get("decoupled") else 2 if given["weight_decay"] else 0
        present = {name for name, shape in zip(state, states, strict=True) if shape is not None}
        nbytes = traffic(itemsize, p, g, p, *states, *states)
        return Cost(prod(p) * (decay + flops(present, given)), nbytes, roots * prod(p))

    examples = []
    for number, setting in enumerate(settings):
        shape = SHAPES[number % len(SHAPES)]
        absent, changes = setting.get("absent", ()), {key: value for key, value in setting.items() if key != "absent"}
        states = {s: None if s in absent else Draw(shape, *DRAWS[s]) for s in state}
        examples.append({"p": shape, "g": shape, **states, **options, **changes})
    return Operator(
        name, __package__, ("p", "g", *state),
        shape=lambda p, g, *rest: (p, *rest[: len(state)]),
        cost=cost, attributes=tuple(options), outputs=("p_new", *(f"{s}_new" for s in state)), optional=optional,
        inplace=True, examples=tuple(examples),
    )  # fmt: skip


sgd = _update(
    "sgd", ("b",),
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0, "first": False, "maximize": False},
    lambda states, o: 2 + (0 if not states else 2 * o["nesterov"] + (0 if o["first"] else 3)), 0,
    (
        {}, {"absent": ("b",)}, {"nesterov": True, "weight_decay": 0.1}, {}, {"dampening": 0.5, "maximize": True}, {"first": True},
        {"absent": ("b",), "weight_decay": 0.01}, {"nesterov": True, "weight_decay": 0.01, "maximize": True},
    ),
    optional=("b",),
)  # fmt: skip
adagrad = _update(
    "adagrad", ("s",), {"lr": 0.1, "weight_decay": 0.0, "eps": 1e-10, "maximize": False}, lambda states, o: 6, 1,
    ({}, {}, {}, {"weight_decay": 0.1, "maximize": True}, {"eps": 0.1}),
)  # fmt: skip
adadelta = _update(
    "adadelta", ("s", "a"), {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": False},
    lambda states, o: 14, 2,
    ({}, {}, {}, {"weight_decay": 0.1, "maximize": True}, {"rho": 0.999, "eps": 0.1}),
)  # fmt: skip
rmsprop = _update(
    "rmsprop", ("s", "mean", "b"),
    {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.9, "maximize": False},
    lambda states, o: 8 + 5 * ("mean" in states) + 2 * ("b" in states), 1,
    (
        {}, {"absent": ("mean", "b"), "weight_decay": 0.1, "maximize": True}, {}, {}, {"absent": ("mean",)},
        {"absent": ("b",), "alpha": 0.9},
    ),
    optional=("mean", "b"),
)  # fmt: skip
adam = _update(
    "adam", ("m", "v", "v_max"),
    {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False, "step": 3, "maximize": False,
     "eps_hat": False},
    lambda states, o: 12 + ("v_max" in states), 1,
    (
        {}, {"absent": ("v_max",), "weight_decay": 0.1, "maximize": True}, {}, {},
        {"absent": ("v_max",), "weight_decay": 0.1, "decoupled": True, "step": 1}, {"step": 1000}, {"absent": ("v_max",)},
        {"absent": ("v_max",), "beta1": 0.0, "eps": 0.1}, {"eps": 0.1, "eps_hat": True},
    ),
    optional=("v_max",),
)  # fmt: skip
nadam = _update(
    "nadam", ("m", "v"),
    {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False, "step": 3,
     "gradient_rate": 0.005, "momentum_rate": 0.02, "maximize": False},
    lambda states, o: 14, 1,
    ({}, {}, {}, {"weight_decay": 0.1, "maximize": True}, {"weight_decay": 0.1, "decoupled": True}),
)  # fmt: skip
