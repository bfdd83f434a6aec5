"""Which branch of an `if` a build keeps.

`TYPE_CHECKING` is false: what is imported under it exists for the type checker alone. Whatever else a build makes
constant (`__debug__`, `utils.USE_THP`) is named in the settings' `[constants]`, as the source writes it. A test that
depends on anything else is undecided, and then both branches count.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

ALWAYS = {"TYPE_CHECKING": False, "typing.TYPE_CHECKING": False}


class Undecided(Exception):
    """The test depends on what the settings do not tell."""


def decide(test: ast.expr, constants: Mapping[str, Any]) -> bool | None:
    """The test's value in this build; None: undecided."""
    try:
        return bool(_value(test, constants))
    except Undecided:
        return None


def _value(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name() | ast.Attribute():
            text = ast.unparse(node)
            for known in (ALWAYS, constants):
                if text in known:
                    return known[text]
            raise Undecided
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, constants)
        case ast.BoolOp():
            # One operand can decide whatever the others are: `a or True`.
            deciding = isinstance(node.op, ast.Or)
            values = [decide(operand, constants) for operand in node.values]
            if deciding in values:
                return deciding
            if None in values:
                raise Undecided
            return not deciding
        case ast.Compare(ops=[op], comparators=[right]):
            return _compare(op, _value(node.left, constants), _value(right, constants))
        case ast.Tuple() | ast.List() | ast.Set():
            return [_value(element, constants) for element in node.elts]
    raise Undecided


def _compare(op: ast.cmpop, left: Any, right: Any) -> bool:
    match op:
        case ast.Eq() | ast.Is():
            return left == right
        case ast.NotEq() | ast.IsNot():
            return left != right
        case ast.In() if isinstance(right, (list, str)):
            return left in right
        case ast.NotIn() if isinstance(right, (list, str)):
            return left not in right
    raise Undecided
