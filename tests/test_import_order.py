"""The order of the house: imports point down only, kernels know nothing of fastnn, jitted bodies compute in loops of their own."""

import ast
from pathlib import Path

import pytest

import fastnn
import fastnn.kernels

# adapters, cli > measure, training > plan, nn, optim, io > autograd > functional > recall > dispatch > kernels
LEVELS = [
    {"kernels"},
    {"dispatch", "random"},
    {"recall"},
    {"functional", "threads"},
    {"custom"},
    {"autograd"},
    {"init", "io", "nn", "optim", "plan"},
    {"config", "data", "measure", "training"},
    {"(root)"},  # fastnn/__init__.py, which gathers what users see
    {"cli", "distributed", "hips", "onnx", "plotting", "sklearn", "torch"},
]
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}
PACKAGE = Path(fastnn.__file__).parent
KERNELS = Path(fastnn.kernels.__file__).parent
FILES = {
    **{("fastnn", *path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))},
    **{("fastnn", "kernels", *path.relative_to(KERNELS).with_suffix("").parts): path for path in sorted(KERNELS.rglob("*.py"))},
}
JITTED = {"kernel", "reassociating_kernel"}
# What a jitted body may take from NumPy: types, constants, and memory for its own loops.
ALLOWED = {
    "arange", "empty", "empty_like", "ones", "zeros", "sqrt", "inf", "nan",
    "int64", "uint32", "uint64", "float32", "float64", "intp",
}  # fmt: skip
REDUCTIONS = {"all", "any", "argmax", "argmin", "dot", "max", "mean", "min", "prod", "std", "sum", "var"}


def imports(name, tree):
    """Full names of the modules that a file imports, wherever in it."""
    package = name[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            base = (*package[: len(package) - node.level + 1], *module) if node.level else module
            yield from ((*base, alias.name) for alias in node.names)


def part(name):
    """The part of the house that a module belongs to."""
    name = tuple(word for word in name if word != "__init__")
    return name[1] if len(name) > 1 and name[1] in LEVEL else "(root)"


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_every_part_has_a_level():
    parts = {name[1] for name in FILES} - {"__init__"}
    assert parts <= LEVEL.keys(), f"say in LEVELS where {sorted(parts - LEVEL.keys())} stand"


@pytest.mark.parametrize("name", FILES, ids=".".join)
def test_imports_point_down(name):
    here = part(name)
    for imported in imports(name, parsed(FILES[name])):
        if imported[0] == "fastnn":
            there = part(imported)
            assert LEVEL[there] <= LEVEL[here] or here == "(root)", f"{'.'.join(name)} imports {'.'.join(imported)}"
        assert imported[0] != "kernels", "kernels is there only in the root of the repository; import fastnn.kernels"


def test_no_circle_between_parts_of_a_level():
    edges = {
        (part(name), part(imported))
        for name, path in FILES.items()
        for imported in imports(name, parsed(path))
        if imported[0] == "fastnn"
    }
    reached = {(a, b) for a, b in edges if a != b and "(root)" not in (a, b)}
    while True:
        further = {(a, d) for a, b in reached for c, d in reached if b == c} - reached
        if not further:
            break
        reached |= further
    assert not [(a, b) for a, b in reached if a == b]


@pytest.mark.parametrize("name", [name for name in FILES if part(name) == "kernels"], ids=".".join)
def test_kernels_import_nothing_else_of_fastnn(name):
    for imported in imports(name, parsed(FILES[name])):
        assert imported[0] != "fastnn" or imported[1:2] == ("kernels",), f"{'.'.join(name)} imports {'.'.join(imported)}"


def jitted(tree):
    """Functions that Numba compiles."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            decorators = {ast.unparse(decorator).partition("(")[0].rpartition(".")[2] for decorator in node.decorator_list}
            if decorators & JITTED:
                yield node


@pytest.mark.parametrize("path", sorted(KERNELS.rglob("*numba*.py")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_jitted_bodies_have_their_own_loops(path):
    for function in jitted(parsed(path)):
        for node in ast.walk(function):
            where = f"{path.name}:{getattr(node, 'lineno', 0)} in {function.name}"
            assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)), f"{where}: no @"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np":
                assert node.attr in ALLOWED, f"{where}: np.{node.attr}"
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) != "np":
                assert node.func.attr not in REDUCTIONS, f"{where}: .{node.func.attr}()"


@pytest.mark.parametrize("path", sorted(KERNELS.rglob("numba_*.py")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_numba_kernels_leave_the_threads_alone(path):
    text = path.read_text(encoding="utf-8")
    assert "prange" not in text, "Numba's own threads abort the process when two Python threads enter"
    assert "parallel=True" not in text
