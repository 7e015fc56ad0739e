"""One step of an optimiser on one parameter.

Each operator takes the parameter p, its gradient g and the optimiser's state, and gives the new parameter and state. In place:
pass the same arrays as ``out``. With ``maximize`` the gradient's sign is turned; weight decay adds ``weight_decay * p`` to it.

sgd        b = momentum b + (1 - dampening) g;  p -= lr (g + momentum b  if nesterov else  b)
adagrad    s += g^2;                            p -= lr g / (sqrt(s) + eps)
adadelta   s = rho s + (1 - rho) g^2;           d = g sqrt(a + eps) / sqrt(s + eps);  a = rho a + (1 - rho) d^2;  p -= lr d
rmsprop    s = alpha s + (1 - alpha) g^2;       p -= lr g / (sqrt(s - mean^2  if centered else  s) + eps), through a momentum buffer b
adam       m, v: running means of g and g^2;    p -= lr m / c1 / (sqrt(v / c2) + eps),  c = 1 - beta^step
nadam      as adam, with Nesterov's look-ahead: p -= (gradient_rate g + momentum_rate m) / (sqrt(v / c2) + eps)
"""

from math import prod

from ..operator import Cost, Draw, Operator

SHAPES = ((1,), (37, 3), (0,), (300, 401))



def _update(name, state, attributes, flops, settings, optional=()):
    """An update whose params are p, g and the state, with one example of each shape for each setting of the attributes."""
    outputs = ("p_new", *(f"{s}_new" for s in state))

    def cost(itemsize, p, *rest):
        read = sum(prod(shape) for shape in (p, *rest[: 1 + len(state)]) if shape is not None)
        written = sum(prod(shape) for shape in (p, *rest[1 : 1 + len(state)]) if shape is not None)
        return Cost(flops=flops * prod(p), bytes=itemsize * (read + written), special=prod(p) if name != "sgd" else 0)

    examples = []
    for number, setting in enumerate(settings):
        shape = SHAPES[number % len(SHAPES)]
        arrays = {"p": shape, "g": shape}
        for s in state:
            absent = s in optional and not setting["present"]
            arrays[s] = None if absent else shape if s in ("b", "m", "mean") else Draw(shape, "uniform", 0.5, 2.0)
            if s == "mean" and not absent:
                arrays[s] = Draw(shape, "uniform", 0.0, 0.5)  # s - mean^2 stays positive
        examples.append({**arrays, **{key: value for key, value in setting.items() if key != "present"}})
    return Operator(
        name, __package__, ("p", "g", *state),
        shape=lambda p, g, *rest: (p, *rest[: len(state)]),
        cost=cost, attributes=attributes, outputs=outputs, optional=optional, inplace=True, examples=tuple(examples),
    )  # fmt: skip


def _settings(base, *changes):
    return tuple({"present": True, **base, **change} for change in changes)


sgd = _update(
    "sgd", ("b",), ("lr", "momentum", "dampening", "nesterov", "weight_decay", "first", "maximize"), 6,
    _settings(
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0, "first": False, "maximize": False},
        {"momentum": 0.0, "present": False}, {"nesterov": True, "weight_decay": 0.1}, {}, {"dampening": 0.5, "maximize": True},
        {"first": True}, {"momentum": 0.0, "present": False, "weight_decay": 0.01, "maximize": True},
    ),
    optional=("b",),
)  # fmt: skip
adagrad = _update(
    "adagrad", ("s",), ("lr", "weight_decay", "eps", "maximize"), 6,
    _settings({"lr": 0.1, "weight_decay": 0.0, "eps": 1e-10, "maximize": False}, {}, {"weight_decay": 0.1, "maximize": True}, {}, {}),
)  # fmt: skip
adadelta = _update(
    "adadelta", ("s", "a"), ("lr", "rho", "eps", "weight_decay", "maximize"), 12,
    _settings({"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": False}, {}, {"weight_decay": 0.1, "maximize": True}, {}, {}),
)  # fmt: skip
rmsprop = _update(
    "rmsprop", ("s", "mean", "b"), ("lr", "alpha", "eps", "weight_decay", "momentum", "maximize"), 12,
    _settings(
        {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.9, "maximize": False},
        {}, {"present": False, "momentum": 0.0, "weight_decay": 0.1, "maximize": True}, {}, {}, {"present": False, "momentum": 0.0},
    ),
    optional=("mean", "b"),
)  # fmt: skip
adam = _update(
    "adam", ("m", "v", "v_max"), ("lr", "beta1", "beta2", "eps", "weight_decay", "decoupled", "step", "maximize"), 14,
    _settings(
        {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False, "step": 3, "maximize": False},
        {}, {"present": False, "weight_decay": 0.1, "maximize": True}, {}, {"present": False, "weight_decay": 0.1, "decoupled": True, "step": 1},
        {"step": 1000}, {"present": False},
    ),
    optional=("v_max",),
)  # fmt: skip
nadam = _update(
    "nadam", ("m", "v"),
    ("lr", "beta1", "beta2", "eps", "weight_decay", "decoupled", "step", "gradient_rate", "momentum_rate", "maximize"), 16,
    _settings(
        {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False, "step": 3,
         "gradient_rate": 0.005, "momentum_rate": 0.02, "maximize": False},
        {}, {"weight_decay": 0.1, "maximize": True}, {}, {"weight_decay": 0.1, "decoupled": True},
    ),
)  # fmt: skip
