"""What diffusers needs to find codi's own component classes again when a bundle is loaded.

`DiffusionPipeline.from_pretrained` looks a component's class up by name in the library that `model_index.json` names:
the first part of the class's `__module__`. It takes a library of one part as a package, so the decorator names `codi`,
and `codi/__init__.py` offers every component class by name, loaded on first use.
"""

from __future__ import annotations

from typing import TypeVar

C = TypeVar("C", bound=type)


def component(cls: C) -> C:
    """Mark a class as a component that a bundle may hold."""
    cls.__module__ = "codi"
    return cls
