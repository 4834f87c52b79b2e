"""What to write in place of a call that makes a plain number of a size."""

from __future__ import annotations

import ast

_SYMBOLIC = {
    "np.prod": "math.prod",
    "numpy.prod": "math.prod",
    "math.sqrt": "torch.sym_sqrt",
}
"""Functions that make plain numbers of sizes, and the same ones that do not."""

_EXACT = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod)


def advice(call: ast.Call) -> str:
    """What to write in place of a call; empty where nothing is known that works.

    Args:
        call: A call with an argument, in a line in which a size became a plain number.
    """
    name = ast.unparse(call.func)
    argument = _symbolic(call.args[0])
    if name == "len":
        return f"len() makes a plain number of a size: write {ast.unparse(argument)}.shape[0]"
    if name == "range":
        return "range() needs a plain number: compute with whole tensors instead of a loop"
    if name == "int" and _is_whole(argument):
        return f"int() makes a plain number of a size: write {ast.unparse(argument)}"
    if name in _SYMBOLIC:
        written = ast.unparse(_symbolic(call))
        return f"{name}() makes a plain number of a size: write {written}"
    return ""


class _Renamer(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        name = _SYMBOLIC.get(ast.unparse(node.func))
        if name is None:
            return node
        return ast.Call(ast.parse(name, mode="eval").body, node.args, node.keywords)


def _symbolic(expression: ast.expr) -> ast.expr:
    copied = ast.parse(ast.unparse(expression), mode="eval").body
    renamed: ast.expr = _Renamer().visit(copied)
    return renamed


def _is_whole(node: ast.expr) -> bool:
    """Whether an expression of sizes is a whole number without ``int()``."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, _EXACT) and _is_whole(node.left) and _is_whole(node.right)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int)
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) == "math.prod" or (
            isinstance(node.func, ast.Attribute) and node.func.attr in {"size", "numel"}
        )
    return isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
