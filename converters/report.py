"""What a conversion did, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from converters.encodings.choose import Choice
from converters.graph import Weight


@dataclass(frozen=True)
class StreamReport:
    """One stream: bits and entropy are per symbol; no code symbol by symbol takes less than the entropy."""

    kind: str
    coding: str
    symbols: int
    bytes: int
    bits: float
    entropy: float


@dataclass(frozen=True)
class LayerReport:
    """One tensor of the file. distinct counts values (zero included), None if over 256."""

    name: str
    encoding: str
    shape: tuple[int, int]
    parameters: int
    nnz: int
    distinct: int | None
    dense_bytes: int
    file_bytes: int
    streams: tuple[StreamReport, ...]
    why: str

    @property
    def vector(self) -> bool:
        """A bias or a scale, not a matrix."""
        return self.shape[1] == 1


@dataclass
class Report:
    """The result of `convert`; `print(report)` shows a table.

    parameters and dense_bytes (fp32) count each stored tensor once; file_bytes is the whole file.
    """

    path: str
    layers: list[LayerReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    file_bytes: int = 0

    @property
    def parameters(self) -> int:
        """Numbers in all stored tensors, zeros included."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def dense_bytes(self) -> int:
        """Bytes of these in fp32."""
        return sum(layer.dense_bytes for layer in self.layers)

    @property
    def ratio(self) -> float:
        """fp32 bytes over file bytes."""
        return self.dense_bytes / max(1, self.file_bytes)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts, lists and numbers."""
        totals = {"parameters": self.parameters, "dense_bytes": self.dense_bytes, "ratio": self.ratio}
        return asdict(self) | totals

    def __str__(self) -> str:
        head = (
            "layer",
            "encoding",
            "MxK",
            "non-zero",
            "values",
            "fp32 bytes",
            "file bytes",
            "bits: used (entropy)",
        )
        rows = [_row(layer) for layer in self.layers if not layer.vector]
        vectors = [layer for layer in self.layers if layer.vector]
        if vectors:
            dense, stored = sum(v.dense_bytes for v in vectors), sum(v.file_bytes for v in vectors)
            rows.append((f"{len(vectors)} vectors", "rows+f32", "", "", "", f"{dense:,}", f"{stored:,}", ""))
        rest = self.file_bytes - sum(layer.file_bytes for layer in self.layers)
        rows.append(("graph, tables, alignment", "", "", "", "", "", f"{rest:,}", ""))
        total = f"{self.ratio:.1f}x smaller"
        rows.append(("total", total, "", "", "", f"{self.dense_bytes:,}", f"{self.file_bytes:,}", ""))
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = [
            "  ".join(_align(c, w, i) for i, (c, w) in enumerate(zip(r, widths, strict=True)))
            for r in (head, *rows)
        ]
        lines.insert(1, "-" * len(lines[0]))
        lines.insert(-1, "-" * len(lines[0]))
        notes = [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([line.rstrip() for line in lines] + notes)


def _row(layer: LayerReport) -> tuple[str, ...]:
    coded = [s for s in layer.streams if s.kind in ("COLS", "INDEX")]
    bits = ", ".join(f"{s.kind} {s.bits:.2f} ({s.entropy:.2f})" for s in coded)
    values = ">256" if layer.distinct is None else str(layer.distinct)
    return (
        layer.name,
        layer.encoding,
        f"{layer.shape[0]}x{layer.shape[1]}",
        f"{layer.nnz / layer.parameters:.1%}",
        values,
        f"{layer.dense_bytes:,}",
        f"{layer.file_bytes:,}",
        bits,
    )


def _align(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column in (0, 1, 7) else cell.rjust(width)


def layer_report(weight: Weight, choice: Choice) -> LayerReport:
    """What became of one weight in the encoding chosen for it."""
    encoded = choice.encoded
    streams = tuple(
        StreamReport(s.kind, s.coding, s.symbols, len(s.data), 8 * len(s.data) / max(1, s.symbols), s.entropy)
        for s in encoded.streams
    )
    return LayerReport(
        name=weight.name,
        encoding=encoded.encoding,
        shape=(encoded.rows, encoded.cols),
        parameters=encoded.parameters,
        nnz=choice.nnz,
        distinct=choice.distinct,
        dense_bytes=4 * encoded.parameters,
        file_bytes=encoded.bytes,
        streams=streams,
        why=choice.why,
    )
