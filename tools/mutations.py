"""The single changes that `tools/mutants.py` makes to a module: a dropped `raise`, a boundary, a missing shield."""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

_BOUNDARIES = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
_OPPOSITES = {ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in"}
_TIME_LIMITS = ("move_on_after", "move_on_at", "fail_after", "fail_at")
# What only says something, or only gives other tasks a turn.
_TALK = re.compile(r"(logger|log|warnings)\.|(trio|anyio)\.lowlevel\.checkpoint|print$")
_FOR_READERS = {"__repr__", "__str__"}


class Mutation(NamedTuple):
    """One change to one module."""

    id: str
    """Stays the same as long as its line does."""
    path: str
    line: int
    kind: str
    start: int
    """Offsets in the module's bytes."""
    end: int
    old: str
    new: str

    def apply(self, text: str) -> str:
        """Return the module with the change."""
        data = text.encode()
        return (data[: self.start] + self.new.encode() + data[self.end :]).decode()

    def __str__(self) -> str:
        """Describe it in a line."""
        old, new = (" ".join(part.split())[:90] for part in (self.old, self.new))
        return f"{self.id} {self.path}:{self.line} {self.kind}: {old!r} → {new!r}"


class _Change(NamedTuple):
    kind: str
    node: ast.expr | ast.stmt | ast.excepthandler
    new: str
    line: int = 0


@cache
def find_mutations(path: str, text: str) -> list[Mutation]:
    """Return all the changes that can be made to a module."""
    data = text.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    lines = text.splitlines()
    same: Counter[str] = Counter()
    found: dict[tuple[int, int, str], Mutation] = {}
    for scope, change in _Finder(data, starts).block(ast.parse(text).body, ""):
        start, end = _span(change.node, starts)
        old = data[start:end].decode()
        if (start, end, change.new) in found or old == change.new:
            continue
        number = change.line or change.node.lineno
        said = "|".join((path, scope, change.kind, lines[number - 1].strip(), change.new))
        same[said] += 1
        id = hashlib.sha256(f"{said}|{same[said]}".encode()).hexdigest()[:8]
        found[start, end, change.new] = Mutation(id, path, number, change.kind, start, end, old, change.new)
    return list(found.values())


def _span(node: ast.expr | ast.stmt | ast.excepthandler, starts: list[int]) -> tuple[int, int]:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset


def _walk(root: ast.expr) -> Iterator[ast.expr]:
    """Return an expression and its parts, but not those of texts."""
    yield root
    if isinstance(root, ast.JoinedStr) or _is_talk(root):
        return
    for child in ast.iter_child_nodes(root):
        if isinstance(child, ast.expr):
            yield from _walk(child)
        elif isinstance(child, ast.keyword):
            yield from _walk(child.value)
        elif isinstance(child, ast.comprehension):
            for part in (child.iter, *child.ifs):
                yield from _walk(part)


def _is_talk(node: ast.expr) -> bool:
    call = node.value if isinstance(node, ast.Await) else node
    return isinstance(call, ast.Call) and _TALK.match(ast.unparse(call.func)) is not None


class _Finder:
    """Finds the changes of one module; each comes with the name of the function that it is in."""

    def __init__(self, data: bytes, starts: list[int]) -> None:
        self._data = data
        self._starts = starts

    def _source(self, node: ast.expr | ast.stmt) -> str:
        start, end = _span(node, self._starts)
        return self._data[start:end].decode()

    def block(self, statements: list[ast.stmt], scope: str) -> Iterator[tuple[str, _Change]]:
        """Return the changes of statements, and of all that is in them."""
        for statement in statements:
            if isinstance(statement, ast.ClassDef):
                bases = [ast.unparse(base).partition("[")[0] for base in statement.bases]
                if not any(base in ("Protocol", "ABC", "Enum") for base in bases):
                    yield from self.block(statement.body, f"{scope}.{statement.name}")
            elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                decorators = " ".join(map(ast.unparse, statement.decorator_list))
                if statement.name not in _FOR_READERS and not re.search(r"overload|abstractmethod", decorators):
                    for default in (*statement.args.defaults, *statement.args.kw_defaults):
                        if isinstance(default, ast.Constant) and isinstance(default.value, bool):
                            yield scope, _Change("default", default, str(not default.value))
                    yield from self.block(statement.body, f"{scope}.{statement.name}")
            elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
                continue
            else:
                for change in self._statement(statement, scope):
                    yield scope, change
                for name in ("body", "orelse", "finalbody"):
                    yield from self.block(getattr(statement, name, []), scope)
                for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                    yield from self.block(part.body, scope)

    def _statement(self, node: ast.stmt, scope: str) -> Iterator[_Change]:
        # What a module or a class begins with is a constant, a table or an import: tests read the same ones.
        inside = scope.rpartition(".")[2][:1].islower() or "._" in scope
        if not inside:
            return
        match node:
            case ast.Expr(ast.Constant() | ast.Yield() | ast.YieldFrom()):
                return
            case ast.Expr(value) if not _is_talk(value):
                yield _Change("drop statement", node, "pass")
            case ast.Delete():
                yield _Change("drop statement", node, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) if not scope.endswith("__init__"):
                yield _Change("drop assignment", node, "pass")
            case ast.AugAssign(target, op, value):
                yield _Change("drop assignment", node, "pass")
                if isinstance(op, ast.Add | ast.Sub):
                    sign = "-=" if isinstance(op, ast.Add) else "+="
                    yield _Change("sign", node, f"{self._source(target)} {sign} {self._source(value)}")
            case ast.Raise(exc=ast.expr()):
                yield _Change("drop raise", node, "pass")
            case ast.Return(value=None):
                yield _Change("drop return", node, "pass")
            case ast.Continue() | ast.Break():
                yield _Change("jump", node, "break" if isinstance(node, ast.Continue) else "continue")
            case ast.If() | ast.While():
                yield from self._condition(node.test)
            case ast.Try():
                yield from self._try(node)
            case ast.With() | ast.AsyncWith():
                yield from self._with(node)
            case ast.Match():
                for case in node.cases:
                    if case.guard is not None:
                        yield from self._condition(case.guard)
                        yield from self._expression(case.guard)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr) and not (isinstance(node, ast.AnnAssign) and child is node.annotation):
                yield from self._expression(child)

    def _try(self, node: ast.Try) -> Iterator[_Change]:
        for handler in node.handlers:
            if handler.type is not None:
                yield _Change("drop handler", handler.type, "()")
        if node.finalbody:
            only = [ast.Try(node.body, node.handlers, node.orelse, []) if node.handlers else None, *node.finalbody]
            body = only if node.handlers else [*node.body, *node.finalbody]
            text = "\n".join(ast.unparse(ast.fix_missing_locations(one)) for one in body if one is not None)
            indented = text.replace("\n", "\n" + " " * node.col_offset)
            yield _Change("finally only after success", node, indented, node.finalbody[0].lineno)

    def _with(self, node: ast.With | ast.AsyncWith) -> Iterator[_Change]:
        for item in node.items:
            call = item.context_expr
            name = ast.unparse(call.func).rpartition(".")[2] if isinstance(call, ast.Call) else ""
            if isinstance(call, ast.Call) and name == "suppress":
                yield _Change("drop suppress", call, f"{self._source(call.func)}()")
            yield from self._expression(call)

    def _condition(self, node: ast.expr) -> Iterator[_Change]:
        yield _Change("negate", node, f"(not ({self._source(node)}))")

    def _expression(self, root: ast.expr) -> Iterator[_Change]:
        for node in _walk(root):
            match node:
                case ast.Compare(left, [op], [right]) if type(op) in _BOUNDARIES:
                    sign = _BOUNDARIES[type(op)]
                    yield _Change("boundary", node, f"({self._source(left)}) {sign} ({self._source(right)})")
                case ast.Compare(left, [op], [right]) if type(op) in _OPPOSITES:
                    sign = _OPPOSITES[type(op)]
                    yield _Change("comparison", node, f"({self._source(left)}) {sign} ({self._source(right)})")
                case ast.BoolOp(op, values):
                    word = " and " if isinstance(op, ast.And) else " or "
                    for value in values:
                        rest = word.join(f"({self._source(one)})" for one in values if one is not value)
                        yield _Change("drop condition", node, f"({rest})", value.lineno)
                case ast.UnaryOp(ast.Not(), operand):
                    yield _Change("negate", node, f"bool({self._source(operand)})")
                case ast.IfExp(test):
                    yield from self._condition(test)
                case ast.BinOp(left, ast.Add() | ast.Sub() as op, right) if _is_number(left) or _is_number(right):
                    sign = "-" if isinstance(op, ast.Add) else "+"
                    yield _Change("sign", node, f"({self._source(left)}) {sign} ({self._source(right)})")
                case ast.Constant(bool() as value):
                    yield _Change("constant", node, str(not value))
                case ast.Constant(int() | float() as value):
                    yield _Change("constant", node, repr(value + 1))
                case ast.Call(ast.Name("min" | "max" as bound) as function, [_, _, *_]):
                    yield _Change("bound", function, "max" if bound == "min" else "min")
                case ast.Call(called, arguments, keywords):
                    for keyword in keywords:
                        if keyword.arg == "shield":
                            yield _Change("unshield", keyword.value, "False")
                    if ast.unparse(called).rpartition(".")[2] in _TIME_LIMITS and arguments:
                        yield _Change("no time limit", arguments[0], 'float("inf")')


def _is_number(node: ast.expr) -> bool:
    number = r"-?\d+|len\(.*\)|.*(size|bytes|BYTES|SECONDS|seconds|time\(\)|position|_ns|deadline)"
    return re.fullmatch(number, ast.unparse(node)) is not None
