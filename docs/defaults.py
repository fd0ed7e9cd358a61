"""For the reference: of parameters that are documented together, each gets the type and default that it has itself.

griffe, which reads the docstrings, gives all of them the first one's.
"""

from __future__ import annotations

from typing import Any

import griffe


class EachItsOwn(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **options: Any) -> None:
        waiting: list[Any] = [pkg]
        for thing in waiting:
            if thing.is_alias:
                continue
            waiting += thing.members.values()
            if thing.docstring is None or not hasattr(thing, "parameters"):
                continue
            annotated = {str(own.annotation) for own in thing.parameters if own.annotation is not None}
            for section in thing.docstring.parsed:
                if section.kind is griffe.DocstringSectionKind.parameters:
                    for parameter in section.value:
                        if parameter.name in thing.parameters:
                            own = thing.parameters[parameter.name]
                            parameter.value = own.default
                            if str(parameter.annotation) in annotated and own.annotation is not None:
                                parameter.annotation = own.annotation  # the docstring says none
