"""What an encoding costs: the table that `pyruntime tune` measured on this machine, else the shipped one.

    time of a layer on one thread, ns = entries * entry_ns + K * input_ns

entries: stored weights (nnz of csr, all of panels and rows). K: rows of X, those of the taps of a convolution
one by one, which are packed or transformed before use. Both costs are measured for several numbers of columns
(linear in between) and windows: "1x1" is linear layers too, and depthwise ones; "3x3" those of stride 1,
where a dense convolution takes Winograd's algorithm; "other" the rest.

CSR of integers is expanded to dense s8: its entry_ns comes on top of the time of that.

Weights of a net that no cache holds take at least the time to read them, byte_ns for each byte.
"""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import get_args

import numpy as np

import pyruntime
from converters.errors import ConvertError
from converters.graph import Weight, Window

COLUMNS = (1, 4, 16, 49, 196, 784, 3136, 50176)  # planes of 1x1 to 224x224
CACHED = 8 << 20  # bytes of dense f32 weights that are still in a cache at the next inference


@dataclass(frozen=True)
class Cost:
    """Nanoseconds as above, one for each of COLUMNS; entry_bytes: of the file, for a stored weight."""

    entry_ns: tuple[float, ...]
    input_ns: tuple[float, ...]
    entry_bytes: float

    def at(self, columns: int) -> tuple[float, float]:
        """entry_ns and input_ns."""
        beyond = max(columns / COLUMNS[-1], 1)
        entry, rows = (np.interp(columns, COLUMNS, ns) * beyond for ns in (self.entry_ns, self.input_ns))
        return float(entry), float(rows)


@dataclass(frozen=True)
class Costs:
    """A cost table. here: measured on this machine."""

    windows: dict[Window, dict[str, Cost]]
    byte_ns: float
    here: bool

    def of(self, kind: str, weight: Weight) -> tuple[float, float]:
        """What a layer takes with `weight` as `kind`, ns: for each entry, and besides."""
        cost = self.windows[weight.window].get(kind) or self.windows["1x1"][kind]
        entry_ns, input_ns = cost.at(weight.columns)
        if weight.cold:
            entry_ns = max(entry_ns, cost.entry_bytes * self.byte_ns)
        return entry_ns, input_ns * weight.matrix.shape[1] * weight.groups


def is_integer(kind: str) -> bool:
    """Whether integer layers compute with it."""
    return kind.split("+")[1] in ("s8", "s4", "s8book")


def is_expanded(kind: str) -> bool:
    return kind.startswith("csr") and is_integer(kind)


@cache
def costs() -> Costs:
    """The table in use. Raises ConvertError if the one of this machine cannot be used."""
    shipped = parse(resources.files("converters").joinpath("costs.json").read_text(), here=False)
    path = own_table()
    if not path.exists():
        return shipped
    try:
        own = parse(path.read_text(), here=True)
        for window, kinds in shipped.windows.items():
            if own.windows[window].keys() != kinds.keys():
                raise ValueError("it has other encodings")
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise ConvertError(
            f"{path} is no cost table of this version ({problem}): run `pyruntime tune` again, or remove it"
        ) from None
    return own


def parse(text: str, here: bool) -> Costs:
    table = json.loads(text)
    windows: dict[Window, dict[str, Cost]] = {}
    for window in get_args(Window):
        windows[window] = {
            kind: Cost(tuple(c["entry_ns"]), tuple(c["input_ns"]), float(c["entry_bytes"]))
            for kind, c in table[window].items()
        }
        if any(
            len(c.entry_ns) != len(COLUMNS) or len(c.input_ns) != len(COLUMNS)
            for c in windows[window].values()
        ):
            raise ValueError("it has other numbers of columns")
    return Costs(windows, float(table["byte_ns"]), here)


def own_table() -> Path:
    """Where `pyruntime tune` keeps the table of this processor and instruction set; it may not exist."""
    isa = os.environ.get("PYRUNTIME_ISA") or pyruntime._core.available_isas()[-1]
    name = re.sub(r"[^a-z0-9]+", "-", f"{processor()} {isa}".lower()).strip("-")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "pyruntime" / f"costs-{name}.json"


def processor() -> str:
    """The model of this processor, as exactly as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(reversed([line.split(":", 1) for line in lines if ":" in line]))
    known = {key.strip(): value.strip() for key, value in fields.items()}
    parts = [known.get(key, "") for key in ("model name", "cpu family", "model", "stepping")]
    return " ".join(part for part in parts if part) or platform.machine()
