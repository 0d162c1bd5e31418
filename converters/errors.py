"""The one exception the converter raises for a model it cannot convert."""

from __future__ import annotations


class ConvertError(Exception):
    """A model or file that cannot be converted; the message names the layers and says what to do."""
