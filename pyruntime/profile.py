"""Where the time of one inference goes, layer by layer."""

from dataclasses import asdict, dataclass
from typing import Any

from pyruntime import _core
from pyruntime.table import Table


@dataclass(frozen=True)
class LayerProfile:
    """One executed op.

    `shape` is the output's; `flops` is dense-equivalent (2*M*K*N, zeros counted), 0 for ops without
    weights; `bytes` is the weight bytes read; `ms` is wall time.
    """

    name: str
    kind: str
    source: str
    encoding: str
    kernel: str
    shape: tuple[int, ...]
    ms: float
    flops: int
    bytes: int

    @property
    def gflops_per_s(self) -> float:
        """Dense-equivalent GFLOP/s."""
        return self.flops / self.ms / 1e6 if self.ms > 0 else 0.0


@dataclass(frozen=True)
class Profile:
    """The layers of one inference in execution order. `str(profile)` is a table."""

    layers: tuple[LayerProfile, ...]

    @classmethod
    def from_core(cls, rows: "list[_core.ProfileDict]") -> "Profile":
        """Of the rows that `_core` measured, one for each op."""

        def layer(row: "_core.ProfileDict") -> LayerProfile:
            fields: dict[str, Any] = {**row, "shape": tuple(row["shape"])}
            return LayerProfile(**fields)

        return cls(tuple(map(layer, rows)))

    @property
    def ms(self) -> float:
        """Sum of the layers, in milliseconds."""
        return sum(layer.ms for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: `{"ms": ..., "layers": [{...}]}`."""
        layers = [asdict(layer) | {"gflops_per_s": layer.gflops_per_s} for layer in self.layers]
        return {"ms": self.ms, "layers": layers}

    def table(self) -> Table:
        """The rows of `str(profile)`."""
        total = self.ms or 1.0
        rows = [
            (
                layer.name,
                layer.kind,
                layer.encoding,
                layer.kernel,
                "x".join(map(str, layer.shape)),
                f"{layer.bytes:,}" if layer.bytes else "",
                f"{layer.ms:.3f}",
                f"{100 * layer.ms / total:.1f}",
                f"{layer.gflops_per_s:.1f}" if layer.flops else "",
            )
            for layer in self.layers
        ]
        flops = sum(layer.flops for layer in self.layers)
        weight_bytes = sum(layer.bytes for layer in self.layers)
        return Table(
            ("layer", "op", "encoding", "kernel", "output", "bytes", "ms", "%", "GFLOP/s"),
            5,
            rows,
            (
                "total",
                "",
                "",
                "",
                "",
                f"{weight_bytes:,}",
                f"{self.ms:.3f}",
                "",
                f"{flops / total / 1e6:.1f}",
            ),
        )

    def __str__(self) -> str:
        return str(self.table())
