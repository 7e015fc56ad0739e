"""A small network, profiled beside the roofline of a machine that never was."""

import fastnn
from fastnn import nn, optim
from fastnn.measure import Roofline, profile

ROOFLINE = Roofline(
    "Abacus", "v4", {"float32": {1: 1e11}, "float64": {1: 5e10}}, {"L1": {1: 1e11}, "DRAM": {1: 1e10}}, {"L1": 1 << 15}, "2026-01-01",
)  # fmt: skip


def small_network():
    fastnn.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3)
    )


def profiled(compiled=True, **options):
    model = small_network()
    given = {
        "loss": nn.CrossEntropyLoss(), "optimizer": optim.Adam(model.parameters()), "compiled": compiled, "roofline": ROOFLINE,
        "budget": 0.02,
    }  # fmt: skip
    return profile(model, (1, 6, 6), 7, **(given | options))
