"""Derived features: expressions over columns, `petal_area: petal_length * petal_width`, read into a checked tree.

The language is a part of Python's, read by Python's own parser and never run by Python: numbers, columns by name (or
`column("any name")`), `+ - * / **`, comparisons, `and or not`, `a if condition else b`, a text column `== "text"`, and
FUNCTIONS. What is missing makes missing what is made from it. `evaluate` leaves to Operations what numbers are: tensors
in the transform graph, so that training and serving compute the same.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from common.text import nearest

LONGEST, DEEPEST = 500, 100  # characters; operations within one another, far from where Python would give up
FUNCTIONS = {  # name: least and most arguments
    "abs": (1, 1),
    "bucket": (2, 50),
    "exp": (1, 1),
    "floor": (1, 1),
    "log": (1, 1),
    "log1p": (1, 1),
    "max": (2, 50),
    "min": (2, 50),
    "round": (1, 1),
    "sqrt": (1, 1),
}
_BINARY: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
Kind = Literal["number", "truth"]


class Operations(Protocol):
    """What expressions are made of. Values are arrays of numbers, NaN where missing; a truth is 1 or 0."""

    def constant(self, value: float) -> Any: ...
    def number(self, column: str) -> Any: ...
    def is_text(self, column: str, text: str) -> Any: ...
    def binary(self, operator: str, left: Any, right: Any) -> Any: ...
    def compare(self, operator: str, left: Any, right: Any) -> Any: ...
    def choose(self, condition: Any, yes: Any, no: Any) -> Any: ...
    def call(self, function: str, arguments: list[Any]) -> Any: ...


@dataclass(frozen=True)
class Expression:
    """A checked expression. `numbers` and `texts`: the columns it reads as the one or the other."""

    source: str
    numbers: frozenset[str]
    texts: frozenset[str]
    _node: _Node

    def evaluate(self, operations: Operations) -> Any:
        return self._node.compute(operations)


@dataclass(frozen=True)
class _Node:
    kind: Kind
    compute: Callable[[Operations], Any]


def parse(source: str) -> Expression:
    """Read an expression. Raises ValueError saying what is wrong, and at which character."""
    if len(source) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters")
    reader = _Reader()
    try:
        node = reader.read(ast.parse(source.strip(), mode="eval").body)
    except MemoryError:
        raise ValueError("is nested too deeply") from None
    except SyntaxError as error:
        at = f" at character {error.offset}" if error.offset else ""
        raise ValueError(f"is no expression: {error.msg}{at}") from None
    if not reader.numbers and not reader.texts:
        raise ValueError("reads no column, so that it is the same in every row")
    return Expression(source, frozenset(reader.numbers), frozenset(reader.texts), node)


def problems(derived: Mapping[str, Expression], kinds: Mapping[str, str], label: str) -> list[str]:
    """Say what derived features ask of columns that these do not have. `kinds`: `number` or `text` by column."""
    wrong = []
    for name, expression in derived.items():
        if name in kinds or name == label:
            wrong.append(f"derived.{name}: is a column already; call it something else")
        for column in sorted(expression.numbers | expression.texts):
            if column == label:
                wrong.append(f"derived.{name}: reads the label {label!r}, which nobody has when asking")
            elif column not in kinds:
                near = nearest(column, [*kinds])
                hint = f"; did you mean {near!r}?" if near else f" (features: {', '.join(kinds)})"
                wrong.append(f"derived.{name}: there is no feature {column!r}{hint}")
            elif column in expression.numbers and kinds[column] == "text":
                wrong.append(f"derived.{name}: {column!r} is text; compare it with a text, or leave it out")
            elif column in expression.texts and kinds[column] == "number":
                wrong.append(f"derived.{name}: {column!r} is a number; compare it with one, without quotes")
    return wrong


class _Reader:
    """Turn Python's syntax tree into nodes, refusing all that is not of the language. A truth may stand for 1 or 0."""

    def __init__(self) -> None:
        self.numbers: set[str] = set()
        self.texts: set[str] = set()
        self._depth = 0

    def read(self, node: ast.expr) -> _Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("is nested too deeply")
        read = self._read(node)
        self._depth -= 1
        return read

    def _read(self, node: ast.expr) -> _Node:
        match node:
            case ast.Constant(value=bool()):
                raise _refused(node, "True and False are not of the language; compare with 0 or 1")
            case ast.Constant(value=int() | float() as value) if math.isfinite(value):
                return _Node("number", lambda ops, number=float(value): ops.constant(number))  # type: ignore[misc]
            case ast.Name(id=name):
                return self._column(name)
            case ast.Call(func=ast.Name(id="column"), args=[ast.Constant(value=str() as name)], keywords=[]):
                return self._column(name)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, arguments)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.read(operand)
                return _Node("number", lambda ops: ops.binary("-", ops.constant(0.0), inner.compute(ops)))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                truth = self._truth(operand)
                return _Node("truth", lambda ops: ops.binary("-", ops.constant(1.0), truth.compute(ops)))
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
                sign, a, b = _BINARY[type(operator)], self.read(left), self.read(right)
                return _Node("number", lambda ops: ops.binary(sign, a.compute(ops), b.compute(ops)))
            case ast.Compare():
                return self._comparison(node)
            case ast.BoolOp(op=operator, values=values):
                function = "min" if isinstance(operator, ast.And) else "max"
                truths = [self._truth(value) for value in values]
                return _Node("truth", lambda ops: ops.call(function, [t.compute(ops) for t in truths]))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                condition, yes, no = self._truth(test), self.read(body), self.read(orelse)
                return _Node(
                    "number", lambda ops: ops.choose(condition.compute(ops), yes.compute(ops), no.compute(ops))
                )
        raise _refused(node, "is not of the language")

    def _column(self, name: str) -> _Node:
        self.numbers.add(name)
        return _Node("number", lambda ops: ops.number(name))

    def _truth(self, node: ast.expr) -> _Node:
        read = self.read(node)
        if read.kind != "truth":
            raise _refused(node, "should be a comparison")
        return read

    def _call(self, node: ast.expr, name: str, arguments: list[ast.expr]) -> _Node:
        if name not in FUNCTIONS:
            near = nearest(name, [*FUNCTIONS, "column"])
            hint = f"; did you mean {near!r}?" if near else f": there are {', '.join(FUNCTIONS)} and column"
            raise _refused(node, f"no function {name!r}{hint}")
        least, most = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            wanted = str(least) if least == most else f"{least} or more"
            raise _refused(node, f"{name} takes {wanted} values, got {len(arguments)}")
        inner = [self.read(argument) for argument in arguments]
        if name == "bucket":
            edges = [a.value for a in arguments[1:] if isinstance(a, ast.Constant) and isinstance(a.value, int | float)]
            if len(edges) != len(arguments) - 1 or edges != sorted(set(edges)):
                raise _refused(node, "the edges of bucket should be numbers, each larger than the one before")
        return _Node("number", lambda ops: ops.call(name, [each.compute(ops) for each in inner]))

    def _comparison(self, node: ast.Compare) -> _Node:
        sides = [node.left, *node.comparators]
        parts = [
            self._compared(node, operator, left, right)
            for operator, left, right in zip(node.ops, sides, sides[1:], strict=False)
        ]
        if len(parts) == 1:
            return parts[0]
        return _Node("truth", lambda ops: ops.call("min", [part.compute(ops) for part in parts]))

    def _compared(self, node: ast.expr, operator: ast.cmpop, left: ast.expr, right: ast.expr) -> _Node:
        if type(operator) not in _COMPARED:
            raise _refused(node, "is not of the language")
        sign = _COMPARED[type(operator)]
        texts = [s for s in (left, right) if isinstance(s, ast.Constant) and isinstance(s.value, str)]
        if not texts:
            a, b = self.read(left), self.read(right)
            return _Node("truth", lambda ops: ops.compare(sign, a.compute(ops), b.compute(ops)))
        other = left if texts[0] is right else right
        match other:
            case (
                ast.Name(id=name)
                | ast.Call(func=ast.Name(id="column"), args=[ast.Constant(value=str() as name)], keywords=[])
            ) if sign in ("==", "!="):
                self.texts.add(name)
                text = str(texts[0].value)
                if sign == "==":
                    return _Node("truth", lambda ops: ops.is_text(name, text))
                return _Node("truth", lambda ops: ops.binary("-", ops.constant(1.0), ops.is_text(name, text)))
        raise _refused(node, "a text can only be == or != to a column")


def _refused(node: ast.expr, why: str) -> ValueError:
    return ValueError(f"{ast.unparse(node)!r} at character {node.col_offset + 1}: {why}")
