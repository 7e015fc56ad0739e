"""Every operator, backend, dtype and example against the reference in float64. Nobody edits this file to add an operator."""

import inspect

import numpy as np
import pytest

import fastnn
from fastnn import dispatch
from fastnn.kernels import isa, operators
from fastnn.kernels.examples import backward_args, cases, draw
from fastnn.kernels.sums import sum_to_shape

CASES = cases()
FAST = ("cython", "numba")
TOLERANCE = {"float32": 3e-5, "float64": 1e-10}  # of the tensor's largest value


def needs(backend):
    """Skip where the installation has no such backend; a kernel that is owed but missing still fails."""
    if backend == "cython" and isa.level() == isa.NONE:
        pytest.skip("fastnn was installed without compiled kernels")
    if backend == "numba" and not dispatch.has_numba():
        pytest.skip("Numba is not installed")


def exact(case, args):
    """The reference's results in float64."""
    wide = tuple(a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args)
    with np.errstate(all="ignore"):
        return [None if result is None else np.asarray(result) for result in case.operator.kernel("reference")(*wide)]


def assert_close(actual, expected, dtype):
    if expected is None:
        assert actual is None
        return
    assert actual.shape == expected.shape
    assert actual.dtype == (np.dtype(dtype) if expected.dtype.kind == "f" else expected.dtype)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected)
        return
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(finite.max(), 1e-3) if finite.size else 1.0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale, equal_nan=True)


def run_on(backend, case, args, out=None):
    with dispatch.use_backend(backend):
        return dispatch.run(case.operator, args, out)


FAST_CASES = [(backend, case) for case in CASES for backend in FAST if backend in case.operator.needs]
fast_cases = pytest.mark.parametrize("backend, case", FAST_CASES, ids=lambda value: str(value))
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@both_dtypes
@fast_cases
def test_matches_reference(backend, case, dtype):
    needs(backend)
    assert case.operator.kernel(backend) is not None, f"{case.operator.name} owes a {backend} kernel"
    args = draw(case, dtype)
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    results = run_on(backend, case, args)
    for result, expected in zip(results, exact(case, args), strict=True):
        assert_close(result, expected, dtype)
    for arg, copy in zip(args, before, strict=True):
        if isinstance(arg, np.ndarray):
            np.testing.assert_array_equal(arg, copy, err_msg="an input was changed")


@both_dtypes
@pytest.mark.parametrize("case", CASES, ids=str)
def test_reference_keeps_dtype_and_follows_shape_rule(case, dtype):
    args = draw(case, dtype)
    arrays, attributes = case.operator.split(args)
    shapes = case.operator.shape(*[None if a is None else a.shape for a in arrays], *attributes)
    results = run_on("reference", case, args)
    assert len(results) == len(shapes)
    for index, (result, shape) in enumerate(zip(results, shapes, strict=True)):
        assert (result is None) == (shape is None)
        if result is None:
            continue
        assert result.shape == tuple(shape)
        integral = (
            not case.operator.variadic
            and index < len(case.operator.outputs)
            and case.operator.outputs[index] in case.operator.integers
        )
        described = (*[None if a is None else a.shape for a in arrays], *attributes)
        assert result.dtype == (case.operator.index_dtype(*described) if integral else np.dtype(dtype))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cost_is_sane(case):
    arrays, attributes = case.operator.split(draw(case, "float32"))
    cost = case.operator.cost(4, *[None if a is None else a.shape for a in arrays], *attributes)
    twice = case.operator.cost(8, *[None if a is None else a.shape for a in arrays], *attributes)
    assert all(isinstance(value, int) and value >= 0 for value in cost)
    assert cost.bytes <= twice.bytes
    assert (cost.flops, cost.special) == (twice.flops, twice.special)


@pytest.mark.parametrize("case", [c for c in CASES if c.operator.backward and not c.operator.kinks], ids=str)
def test_gradient_along_random_directions(case):
    forward = case.operator
    args = draw(case, "float64")
    rng = np.random.default_rng(1)
    back = backward_args(forward, args, rng)
    dys = back[: len(forward.differentiable)]
    with np.errstate(all="ignore"):
        gradients = forward.backward.kernel("reference")(*back)
    if forward.variadic:
        pairs = list(enumerate(gradients))
    else:
        names = [name.removeprefix("d") for name in forward.backward.outputs]
        pairs = [(forward.params.index(name), g) for name, g in zip(names, gradients, strict=True)]

    def value(changed):
        with np.errstate(all="ignore"):
            results = forward.kernel("reference")(*changed)
        named = [np.asarray(results[forward.outputs.index(name)]) for name in forward.differentiable]
        return sum(np.vdot(dy, result) for dy, result in zip(dys, named, strict=True))

    for index, gradient in pairs:
        if args[index] is None:
            continue
        direction = rng.standard_normal(args[index].shape)
        eps = 1e-6
        ahead, behind = (value((*args[:index], args[index] + sign * eps * direction, *args[index + 1 :])) for sign in (1, -1))
        numeric = (ahead - behind) / (2 * eps)
        gradient = sum_to_shape(np.asarray(gradient), args[index].shape)
        np.testing.assert_allclose(np.vdot(gradient, direction), numeric, rtol=2e-5, atol=2e-7 * max(1, args[index].size))


@pytest.mark.parametrize("operator", list(operators()), ids=lambda operator: operator.name)
def test_declaration(operator):
    reference = operator.kernel("reference")
    assert reference is not None, f"{operator.name} has no reference"
    if not operator.variadic:
        assert tuple(inspect.signature(reference).parameters) == operator.params + operator.attributes
    if operator.backward is not None:
        assert operator.examples, f"{operator.name} has no examples"
        backward = operator.backward
        assert backward.params[: len(operator.differentiable)] == tuple(
            "d" + n for n in operator.outputs if "d" + n in backward.params
        )
        assert set(operator.saves) <= set(operator.params) | set(operator.outputs)
        assert all(name in operator.attributes or name.removesuffix("_shape") in operator.params for name in backward.attributes)
        assert all(name.removeprefix("d") in operator.params for name in backward.outputs)


def _variants(array):
    """The same values in other memory: Fortran order, every other element, reversed, unaligned."""
    yield "fortran", np.asfortranarray(array)
    wide = np.empty((*array.shape[:-1], 2 * array.shape[-1]) if array.ndim else (), array.dtype)
    strided = wide[..., ::2] if array.ndim else wide
    strided[...] = array
    yield "strided", strided
    if array.ndim:
        yield "reversed", array[..., ::-1].copy()[..., ::-1]
    raw = np.empty(array.nbytes + 1, np.uint8)[1:]
    unaligned = raw.view(array.dtype).reshape(array.shape)
    unaligned[...] = array
    yield "unaligned", unaligned


@pytest.mark.parametrize("backend, case", [pair for pair in FAST_CASES if pair[1].number in (1, 2)], ids=lambda value: str(value))
def test_any_memory_gives_the_same_bits(backend, case):
    needs(backend)
    args = draw(case, "float32")
    expected = run_on(backend, case, args)
    for index, arg in enumerate(args):
        if not isinstance(arg, np.ndarray):
            continue
        for name, variant in _variants(arg):
            variant.flags.writeable = False
            results = run_on(backend, case, (*args[:index], variant, *args[index + 1 :]))
            for result, wanted in zip(results, expected, strict=True):
                np.testing.assert_array_equal(result, wanted, err_msg=f"argument {index}, {name}")


@fast_cases
def test_out_is_written(backend, case):
    needs(backend)
    args = draw(case, "float32")
    expected = run_on(backend, case, args)
    out = tuple(None if result is None else np.full_like(result, 7) for result in expected)
    for given, result, wanted in zip(out, run_on(backend, case, args, out), expected, strict=True):
        assert result is given
        np.testing.assert_array_equal(given, wanted)
    strided = tuple(None if r is None else np.full((*r.shape, 2), 7, r.dtype)[..., 0] for r in expected)
    for given, wanted in zip(run_on(backend, case, args, strided), expected, strict=True):
        np.testing.assert_array_equal(given, wanted)


@pytest.mark.parametrize(
    "backend, case",
    [p for p in FAST_CASES if len(p[1].operator.outputs) > 1 and not p[1].operator.inplace],
    ids=lambda value: str(value),
)
def test_outputs_that_nobody_wants(backend, case):
    needs(backend)
    args = draw(case, "float32")
    expected = run_on(backend, case, args)
    for index in range(len(expected)):
        wanted = [i == index for i in range(len(expected))]
        with dispatch.use_backend(backend):
            results = dispatch.run(case.operator, args, None, wanted)
        for i, result in enumerate(results):
            if i == index:
                np.testing.assert_array_equal(result, expected[i])
            else:
                assert result is None


@pytest.mark.parametrize("case", [c for c in CASES if "cython" in c.operator.needs], ids=str)
def test_same_bits_for_one_and_two_threads(case, shared_work):
    needs("cython")
    args = draw(case, "float32")
    before = fastnn.get_num_threads()
    try:
        fastnn.set_num_threads(1)
        alone = run_on("cython", case, args)
        fastnn.set_num_threads(2)
        together = run_on("cython", case, args)
    finally:
        fastnn.set_num_threads(before)
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, two)


LARGEST = {case.operator.name: case for case in CASES if "numba" in case.operator.needs}


@pytest.mark.parametrize("case", list(LARGEST.values()), ids=lambda case: case.operator.name)
def test_numba_kernel_releases_the_gil(case, releases_the_gil):
    """Compiled ones: test_executor."""
    needs("numba")
    args = draw(case, "float32")
    arrays, attributes = case.operator.split(args)
    arrays = [a if a is None else np.ascontiguousarray(a).reshape(a.shape) for a in arrays]
    outputs = [None if result is None else np.array(result) for result in run_on("numba", case, args)]
    assert releases_the_gil(case.operator.kernel("numba"), *arrays, *attributes, *outputs)
