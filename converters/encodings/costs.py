"""What an encoding costs: the table that `pyruntime tune` measured on this machine, else the shipped one.

    time of a layer on one thread = layer_ns + entries * (entry_ns + (columns - 1) * column_ns)

entries: stored weights (nnz of csr, all of panels and rows). one_tap: linear layers, 1x1 convolutions and
depthwise ones; many_taps: other convolutions.
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

import pyruntime
from converters.errors import ConvertError


@dataclass(frozen=True)
class Cost:
    """Nanoseconds, as above."""

    layer_ns: float
    entry_ns: float
    column_ns: float

    def of(self, entries: int, columns: int) -> float:
        return self.layer_ns + entries * self.per_entry(columns)

    def per_entry(self, columns: int) -> float:
        return self.entry_ns + (columns - 1) * self.column_ns


@dataclass(frozen=True)
class Costs:
    """A cost table. here: measured on this machine."""

    one_tap: dict[str, Cost]
    many_taps: dict[str, Cost]
    here: bool

    def of(self, kind: str, taps: int) -> Cost:
        return self.many_taps.get(kind, self.one_tap[kind]) if taps > 1 else self.one_tap[kind]


@cache
def costs() -> Costs:
    """The table in use. Raises ConvertError if the one of this machine cannot be used."""
    shipped = parse(resources.files("converters").joinpath("costs.json").read_text(), here=False)
    path = own_table()
    if not path.exists():
        return shipped
    try:
        own = parse(path.read_text(), here=True)
        if own.one_tap.keys() != shipped.one_tap.keys():
            raise ValueError("it has other encodings")
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise ConvertError(
            f"{path} is no cost table of this version ({problem}): run `pyruntime tune` again, or remove it"
        ) from None
    return own


def parse(text: str, here: bool) -> Costs:
    table = json.loads(text)
    one, many = (
        {kind: Cost(**cost) for kind, cost in table[part].items()} for part in ("one_tap", "many_taps")
    )
    return Costs(one, many, here)


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
