"""The derivative of a scalar Python function, as source: every value is followed by its tangent (forward mode, dual numbers).

Source: Griewank and Walther, "Evaluating Derivatives" (2008), section 3.1.
"""

from __future__ import annotations

import ast

# Of math's functions: the derivative by the argument {x}, where {y} is the result. An empty one is zero.
RULES = {
    "exp": "{y}", "expm1": "{y} + 1", "log": "1 / {x}", "log1p": "1 / (1 + {x})", "log2": "1.4426950408889634 / {x}",
    "log10": "0.4342944819032518 / {x}", "sqrt": "0.5 / {y}", "sin": "math.cos({x})", "cos": "-math.sin({x})", "tan": "1 + {y} * {y}",
    "asin": "1 / math.sqrt(1 - {x} * {x})", "acos": "-1 / math.sqrt(1 - {x} * {x})", "atan": "1 / (1 + {x} * {x})",
    "sinh": "math.cosh({x})", "cosh": "math.sinh({x})", "tanh": "1 - {y} * {y}", "erf": "1.1283791670955126 * math.exp(-{x} * {x})",
    "erfc": "-1.1283791670955126 * math.exp(-{x} * {x})",
    "fabs": "1.0 * ({x} > 0) - 1.0 * ({x} < 0)", "abs": "1.0 * ({x} > 0) - 1.0 * ({x} < 0)",
    "floor": "", "ceil": "", "trunc": "", "float": "1",
}  # fmt: skip
BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)


def tangent_of(name: str) -> str:
    """The name of a variable's tangent."""
    return f"{name}__tangent"


def differentiate(function: ast.FunctionDef, variables: list[str], name: str) -> ast.FunctionDef:
    """A function of the arguments of ``function`` and the tangents of ``variables`` that returns the tangent of its result.

    Raises
    ------
    ValueError
        Naming the line of what has no rule here.
    """
    for node in ast.walk(function):
        if isinstance(node, (ast.NamedExpr, ast.FunctionDef, ast.Lambda)) and node is not function:
            raise refuse(node, f"{type(node).__name__} has no derivative here")
    writer = _Writer(variables)
    body = writer.block(function.body)
    arguments = [a.arg for a in (*function.args.args, *function.args.kwonlyargs)]
    return definition(name, [*arguments, *map(tangent_of, variables)], body)


def definition(name: str, arguments: list[str], body: list[ast.stmt]) -> ast.FunctionDef:
    """``def name(arguments): body``"""
    (found,) = ast.parse(f"def {name}({', '.join(arguments)}): pass").body
    assert isinstance(found, ast.FunctionDef)
    found.body = body
    return ast.fix_missing_locations(found)


def _parse(text: str, **names: ast.expr) -> ast.expr:
    """An expression in which names stand for other expressions."""

    class Replace(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return names.get(node.id, node)

    return Replace().visit(ast.parse(text, mode="eval").body)


def refuse(node: ast.AST, what: str) -> ValueError:
    """The error for what cannot be differentiated or compiled."""
    return ValueError(f"line {getattr(node, 'lineno', '?')}: {what}; give derivative= or write it with arithmetic and math")


class _Writer:
    """Turns statements into statements that carry tangents along."""

    def __init__(self, variables: list[str]) -> None:
        self.active = set(variables)  # names that have a tangent
        self.count = 0
        self.out: list[ast.stmt] = []

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """The statements of one block."""
        outer, self.out = self.out, []
        for statement in statements:
            self.statement(statement)
        result, self.out = self.out or [ast.Pass()], outer
        return result

    def statement(self, node: ast.stmt) -> None:
        """Append what one statement becomes."""
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                self.assign(name, *self.expression(value))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                self.assign(name, *self.expression(ast.BinOp(ast.Name(name, ast.Load()), op, value, lineno=node.lineno)))
            case ast.Return(value=ast.expr() as value):
                _, tangent = self.expression(value)
                self.out.append(ast.Return(tangent or ast.Constant(0.0)))
            case ast.If(test=test, body=body, orelse=orelse):
                self.activate(node)
                self.out.append(ast.If(test, self.block(body), self.block(orelse) if orelse else []))
            case ast.While(test=test, body=body, orelse=[]):
                self.activate(node)
                self.out.append(ast.While(test, self.block(body), []))
            case ast.For(target=ast.Name(id=name)) if name in self.active:
                raise refuse(node, f"{name} is a variable and cannot count a loop")
            case ast.For(target=ast.Name(), iter=steps, body=body, orelse=[]):
                self.activate(node)
                self.out.append(ast.For(node.target, steps, self.block(body), []))
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case _:
                raise refuse(node, f"{type(node).__name__} has no derivative here")

    def activate(self, node: ast.stmt) -> None:
        """Give a tangent to all that a branch or a loop assigns, so that it has one on every way there."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        if isinstance(node, ast.For):
            names -= {node.target.id} if isinstance(node.target, ast.Name) else set()
        for name in sorted(names - self.active):
            self.out.append(self.store(tangent_of(name), ast.Constant(0.0)))
            self.active.add(name)

    def assign(self, name: str, value: ast.expr, tangent: ast.expr | None) -> None:
        """Append an assignment of value and tangent; the tangent first, since the value may change what it reads."""
        if tangent is not None or name in self.active:
            self.out.append(self.store(tangent_of(name), tangent or ast.Constant(0.0)))
            self.active.add(name)
        self.out.append(self.store(name, value))

    def store(self, name: str, value: ast.expr) -> ast.stmt:
        """``name = value``"""
        return ast.Assign([ast.Name(name, ast.Store())], value)

    def named(self, value: ast.expr) -> ast.expr:
        """The value under a name of its own, so that it is computed once."""
        if isinstance(value, (ast.Name, ast.Constant)):
            return value
        self.count += 1
        self.out.append(self.store(f"value__{self.count}", value))
        return ast.Name(f"value__{self.count}", ast.Load())

    def expression(self, node: ast.expr) -> tuple[ast.expr, ast.expr | None]:
        """The value of an expression, and its tangent (None where that is zero)."""
        match node:
            case ast.Name(id=name):
                return node, ast.Name(tangent_of(name), ast.Load()) if name in self.active else None
            case ast.Constant() | ast.Attribute(value=ast.Name(id="math")):
                return node, None
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                value, tangent = self.expression(operand)
                return ast.UnaryOp(op, value), None if tangent is None else ast.UnaryOp(op, tangent)
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, BINARY):
                return self.binary(op, left, right)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.choice(test, body, orelse)
            case ast.Call(func=ast.Name(id="max" | "min" as name), args=[first, second]):
                a, b = self.named_pair(first), self.named_pair(second)
                test = ast.Compare(a[0], [ast.GtE() if name == "max" else ast.LtE()], [b[0]])
                return self.chosen(test, a, b)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="math"), attr="pow") | ast.Name(id="pow"), args=[base, power]):
                return self.binary(ast.Pow(), base, power)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="math"), attr=name) | ast.Name(id=name), args=[argument]) if (
                name in RULES
            ):
                return self.call(node, name, argument)
        raise refuse(node, f"{ast.unparse(node)} has no derivative here")

    def binary(self, op: ast.operator, left: ast.expr, right: ast.expr) -> tuple[ast.expr, ast.expr | None]:
        """Sum, difference, product, quotient and power."""
        (a, da), (b, db) = self.named_pair(left), self.named_pair(right)
        y = self.named(ast.BinOp(a, op, b))
        if isinstance(op, ast.Add | ast.Sub):
            if da is None or db is None:
                return y, da if db is None else ast.UnaryOp(ast.USub(), db) if isinstance(op, ast.Sub) else db
            return y, ast.BinOp(da, op, db)
        by_a, by_b = {
            ast.Mult: ("b", "a"), ast.Div: ("1 / b", "-y / b"),
            ast.Pow: ("b * a ** (b - 1) if b != 0 else 0.0", "0.0 if a == 0 and b >= 0 else y * math.log(a)"),
        }[type(op)]  # fmt: skip
        if isinstance(op, ast.Pow) and isinstance(b, ast.Constant) and isinstance(b.value, int):
            by_a = f"{b.value} * a ** {b.value - 1}" if b.value else "0.0"
        terms = [_parse(f"({rule}) * d", a=a, b=b, y=y, d=d) for rule, d in ((by_a, da), (by_b, db)) if d is not None]
        return y, None if not terms else terms[0] if len(terms) == 1 else ast.BinOp(terms[0], ast.Add(), terms[1])

    def named_pair(self, node: ast.expr) -> tuple[ast.expr, ast.expr | None]:
        """Value and tangent, each under a name."""
        value, tangent = self.expression(node)
        return self.named(value), None if tangent is None else self.named(tangent)

    def call(self, node: ast.Call, name: str, argument: ast.expr) -> tuple[ast.expr, ast.expr | None]:
        """A function of one argument."""
        x, dx = self.named_pair(argument)
        y = self.named(ast.Call(node.func, [x], []))
        if dx is None or not RULES[name]:
            return y, None
        return y, _parse(f"({RULES[name].format(x='x__', y='y__')}) * d__", x__=x, y__=y, d__=dx)

    def choice(self, test: ast.expr, body: ast.expr, orelse: ast.expr) -> tuple[ast.expr, ast.expr | None]:
        """``body if test else orelse``, of which only one is computed."""
        self.count += 1
        name = f"value__{self.count}"
        branches = [self.branch(name, expression) for expression in (body, orelse)]
        self.active.add(name)
        self.out.append(ast.If(test, *branches))
        return ast.Name(name, ast.Load()), ast.Name(tangent_of(name), ast.Load())

    def forced(self, node: ast.expr) -> tuple[ast.expr, ast.expr]:
        """Value and tangent, 0.0 where there is none."""
        value, tangent = self.expression(node)
        return value, tangent or ast.Constant(0.0)

    def chosen(
        self, test: ast.expr, a: tuple[ast.expr, ast.expr | None], b: tuple[ast.expr, ast.expr | None]
    ) -> tuple[ast.expr, ast.expr | None]:
        """One of two values that are there."""
        tangent = ast.IfExp(test, a[1] or ast.Constant(0.0), b[1] or ast.Constant(0.0))
        return ast.IfExp(test, a[0], b[0]), None if a[1] is None and b[1] is None else tangent

    def branch(self, name: str, expression: ast.expr) -> list[ast.stmt]:
        """What assigns an expression and its tangent."""
        outer, self.out = self.out, []
        self.assign(name, *self.forced(expression))
        result, self.out = self.out, outer
        return result
