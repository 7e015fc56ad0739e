"""Operators of ONNX that have no kernel of their own: values and gradients, in plans too."""

import numpy as np
import pytest

import fastnn

from .onnx_models import FLOAT, helper, model_of

pytestmark = pytest.mark.usefixtures("without_compilation")


@pytest.mark.parametrize(
    "options", [{}, {"is_causal": 1}, {"left_window_size": 1, "right_window_size": 0}, {"softcap": 2.0}], ids=str
)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_has_gradients(options, masked, rng):
    """A query that may see nothing gives zeros; in a plan too."""
    q, k, v = (rng.standard_normal((2, heads, length, 3)).astype(np.float32) for heads, length in ((4, 3), (2, 5), (2, 5)))
    mask = rng.random((3, 5)) > 0.4
    mask[1] = False
    inputs = ["x", "k", "v", *(["m"] if masked else [])]
    constants = {"k": k, "v": v, **({"m": mask} if masked else {})}
    network = fastnn.onnx.load(
        model_of([helper.make_node("Attention", inputs, ["y"], **options)], {"x": q.shape}, constants, 25, ir_version=12)
    )
    y = network(q).numpy()
    assert y.shape == q.shape and np.isfinite(y).all()
    assert (y[:, :, 1] == 0).all() == masked
    np.testing.assert_allclose(fastnn.compile(network).predict(q), y, rtol=1e-5, atol=1e-6)
    assert fastnn.gradcheck(network.double(), q.astype(np.float64))


ELEMENTARY = {
    "Erf": None, "Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan, "Sinh": np.sinh,
    "Cosh": np.cosh, "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh, "Floor": np.floor, "Ceil": np.ceil,
    "Round": np.round, "Sign": np.sign,
}  # fmt: skip


@pytest.mark.parametrize("kind", ELEMENTARY)
def test_elementary_functions_of_tensors(kind):
    """Values, NaN and infinity among them, and gradients; Numba compiles the first one alone, to spare time."""
    x = np.array([-0.75, -0.5, 0.3, 0.5, 0.9, 0.0])
    x = x + 2 if kind == "Acosh" else x
    network = fastnn.onnx.load(model_of([helper.make_node(kind, ["x"], ["y"])], {"x": ["n"]}))
    with fastnn.use_backend("cython" if kind == "Erf" and fastnn.dispatch.is_available("cython") else "reference"):
        if kind == "Erf":
            wanted = [-0.7111556337, -0.5204998778, 0.3286267595, 0.5204998778, 0.7969082124, 0.0]
            np.testing.assert_allclose(network(fastnn.tensor(x)).numpy(), wanted, rtol=1e-9)
            np.testing.assert_allclose(network(x), wanted, rtol=1e-9)
        else:
            odd = np.concatenate([x, [1.5, 2.5, -2.5, np.nan, np.inf, -np.inf]]).astype(np.float32)
            with np.errstate(invalid="ignore"):
                wanted = ELEMENTARY[kind](odd)
            np.testing.assert_allclose(network(fastnn.tensor(odd)).numpy(), wanted, rtol=1e-5)
            np.testing.assert_array_equal(network(odd), wanted)
        if kind in ("Floor", "Ceil", "Round", "Sign"):
            np.testing.assert_array_equal(fastnn.vjp(network, x)[1](np.ones_like(x))[0], 0)
        else:
            assert fastnn.gradcheck(network, x)


RECURRENT = {
    "RNN": {},
    "RNN reversed": {"direction": "reverse", "activations": ["Relu"], "clip": 0.5},
    "RNN with numbers": {"direction": "bidirectional", "activations": ["LeakyRelu", "HardSigmoid"], "activation_alpha": [0.1, 0.3],
                         "activation_beta": [0.6]},
    "GRU": {},
    "GRU after the product": {"linear_before_reset": 1, "direction": "bidirectional"},
    "LSTM": {},
    "LSTM both ways": {"direction": "bidirectional"},
    "LSTM clipped": {"clip": 0.3, "activations": ["Sigmoid", "Softsign", "Tanh"]},
}  # fmt: skip


@pytest.mark.parametrize("lengths", [None, [5, 2, 3]])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers(name, lengths, rng):
    """Against ONNX Runtime, with initial states, biases and peepholes; and it is trained and compiled."""
    runtime = pytest.importorskip("onnxruntime")
    kind, attributes = name.split()[0], RECURRENT[name]
    T, N, size, H = 5, 3, 4, 6
    D, G = (2 if attributes.get("direction") == "bidirectional" else 1), {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    shapes = {
        "w": (D, G * H, size),
        "r": (D, G * H, H),
        "b": (D, 2 * G * H),
        "n": None,
        "h": (D, N, H),
        "c": (D, N, H),
        "p": (D, 3 * H),
    }
    names = [key for key in shapes if kind == "LSTM" or key not in "cp"]
    constants = {key: 0.5 * rng.standard_normal(shapes[key]).astype(np.float32) for key in names if key != "n"}
    if lengths is not None:
        constants["n"] = np.array(lengths, np.int32)
    outputs = ["y", "y_h", "y_c"] if kind == "LSTM" else ["y", "y_h"]
    inputs = ["x", *(key if key in constants else "" for key in names)]
    model = model_of(
        [helper.make_node(kind, inputs, outputs, hidden_size=H, **attributes)], {"x": [T, N, size]}, constants, 14, outputs
    )
    x = rng.standard_normal((T, N, size)).astype(np.float32)
    results = fastnn.onnx.prepare(model).run([x])
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in outputs)
    for result, want in zip(results, runtime.InferenceSession(model.SerializeToString()).run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-6)
    alone = model_of([helper.make_node(kind, inputs, ["y"], hidden_size=H, **attributes)], {"x": [T, N, size]}, constants, 14)
    network = fastnn.onnx.load(alone)
    np.testing.assert_allclose(fastnn.compile(network).predict(x), results[0], rtol=1e-4, atol=1e-6)
    if lengths is None:
        assert fastnn.gradcheck(network.double(), x.astype(np.float64))
