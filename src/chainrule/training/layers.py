"""What the parts of a model are called, what belongs to each, and how to see what each one gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from ..nn import Module
from ..tensor import Tensor, describe

__all__ = ["html_table", "modules_of", "own_parameters", "seeing", "text_table", "titled"]


def modules_of(model: Any, caller: str) -> dict[str, Module]:
    """The modules of a model, itself first, by their names."""
    if not isinstance(model, Module):
        raise TypeError(f"{caller} takes an nn.Module, not {describe(model)}: put functions into an nn.Sequential")
    return dict(model.named_modules())


def own_parameters(model: Module, modules: Mapping[str, Module]) -> dict[str, dict[str, Tensor]]:
    """Per module, by name, the parameters that are its own, not those of a module inside it."""
    found: dict[str, dict[str, Tensor]] = {name: {} for name in modules}
    for path, parameter in model.named_parameters():
        owner, inner = "", path
        for place in reversed([i for i, letter in enumerate(path) if letter == "."]):
            if path[:place] in modules:
                owner, inner = path[:place], path[place + 1 :]
                break
        found[owner][inner] = parameter
    return found


def titled(module: Module) -> str:
    """The class of a module, with its settings if it has no modules inside."""
    text = repr(module)
    return type(module).__name__ if "\n" in text else text.removesuffix("()")


@contextmanager
def seeing(modules: Mapping[str, Module], see: Callable[[str, Any], Any]) -> Iterator[None]:
    """Pass the result of every call of these modules through `see`, which is given the name and the result."""
    before = {name: vars(module).get("forward") for name, module in modules.items()}
    for name, module in modules.items():
        vars(module)["forward"] = _seen(name, module.forward, see)
    try:
        yield
    finally:
        for name, module in modules.items():
            if before[name] is None:
                del vars(module)["forward"]
            else:
                vars(module)["forward"] = before[name]


def _seen(name: str, forward: Callable[..., Any], see: Callable[[str, Any], Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        return see(name, forward(*args, **options))

    return call


# -- tables ----------------------------------------------------------------------------------------------------------
def text_table(rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    """Columns side by side under a heading, those in `right` flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [
        [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    lines = ["  ".join(row).rstrip() for row in cells]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def html_table(rows: Sequence[Sequence[str]], right: Sequence[int], below: Sequence[str]) -> str:
    """The same for a notebook, with lines of text below."""

    def line(row: Sequence[str], tag: str) -> str:
        cells = (
            f'<{tag} style="text-align:{"right" if i in right else "left"}">{escape(cell)}</{tag}>'
            for i, cell in enumerate(row)
        )
        return f"<tr>{''.join(cells)}</tr>"

    body = "".join(line(row, "td") for row in rows[1:])
    text = "".join(f"<p>{escape(each)}</p>" for each in below)
    return f"<table><thead>{line(rows[0], 'th')}</thead><tbody>{body}</tbody></table>{text}"
