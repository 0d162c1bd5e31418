"""Run compressed neural networks without decompressing them.

import pyruntime

with pyruntime.load("model.pyrt") as model:
    y = model.infer(x)
"""

from pyruntime._core import Error, __version__
from pyruntime.model import InputInfo, LayerOutput, Memory, Model, OutputInfo, load
from pyruntime.profile import LayerProfile, Profile

__all__ = [
    "Error",
    "InputInfo",
    "LayerOutput",
    "LayerProfile",
    "Memory",
    "Model",
    "OutputInfo",
    "Profile",
    "__version__",
    "load",
]
