"""How derivations write an operation, and its factor in the chain rule, where that is not what its rule says by itself.

A row explains itself: its partial derivatives are its factors.  Everything else is written as a call, and its factor as
the derivative of that call, unless it has a line here.
"""

from __future__ import annotations

from math import inf

from ..formula import Notation
from .registry import rules


def written(
    name: str, form: str = "", text: str = "", latex: str = "", factors: tuple[str, ...] = (), rank: float = inf
) -> None:
    """Give a rule, and its form for complex operands, the sign and the factors that a textbook uses."""
    for rule in (rules[name], rules[name].complex_rule):
        if rule is not None:
            rule.notation = Notation(form, text, latex) if form else None
            rule.factors, rule.factor_rank = factors, rank


PRODUCT = ("□·bᵀ", "aᵀ·□")
written("matmul", "infix", "·", r"\,", PRODUCT)
written("dot", "infix", "·", r"\,", PRODUCT, rank=2)
written("transpose", "postfix", "ᵀ", r"^{\top}", ("□ᵀ",), rank=2)
written("conjugate", "postfix", "*", "^{*}", ("□*",))
written("sigmoid", "function", "σ", r"\sigma")
written("expit", "function", "σ", r"\sigma")
written("absolute", "around", "| |", r"\left| \right|")
written("square", "postfix", "²", "^{2}")
written("power_by_two", "postfix", "²", "^{2}")
written("getitem", "index", factors=("□ at []",), text="[]", latex="[]")
for name in ("put", "write_put"):
    written(name, "write", "=", "=", ("(□, but 0 at [])", "□[]"))
for name in ("add_at", "write_add_at"):
    written(name, "write", "+=", r"\mathrel{+}=", ("□", "□[]"))
written("where", factors=("0", "(□ where {a}, else 0)", "(□ where not {a}, else 0)"))
written("solve", factors=("(−{a}⁻ᵀ·□·{y}ᵀ)", "{a}⁻ᵀ·□"))
written("inv", "postfix", "⁻¹", "^{-1}", ("(−{y}ᵀ·□·{y}ᵀ)",))
written("sum", factors=("1",))
written("mean", factors=("1/n",))
written("copy", factors=("1",))
written("identity", factors=("1",))
written("broadcast_to", factors=("1",))
