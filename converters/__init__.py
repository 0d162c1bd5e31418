"""Converts torch modules to `.pyrt` files.

`convert` never changes what a model computes; `converters.compress` makes models smaller before it.
"""

from typing import TYPE_CHECKING, Any

from converters.errors import ConvertError

if TYPE_CHECKING:
    from converters.noise import Comparison, compare
    from converters.pipeline import convert, convert_exported
    from converters.report import Report

__all__ = ["Comparison", "ConvertError", "Report", "compare", "convert", "convert_exported"]


def __getattr__(name: str) -> Any:
    """Imports torch when a converter is first asked for, not for `python -m converters --help`."""
    if name in ("convert", "convert_exported"):
        from converters import pipeline

        return getattr(pipeline, name)
    if name in ("compare", "Comparison"):
        from converters import noise

        return getattr(noise, name)
    if name == "Report":
        from converters.report import Report

        return Report
    raise AttributeError(f"module 'converters' has no attribute {name!r}")
