"""Makes the golden files that tie the writer to the C++ reader: `python tests/golden/make.py [NAME ...]`.

Each NAME.pyrt has a NAME.npz with its inputs (`in.NAME`), its outputs computed in float64 (`out.NAME`) and
its weights as f32 [M, K] (`w.NAME`).
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER.parent.parent)]

import pyrt_reader  # noqa: E402

import converters  # noqa: E402
from converters import format  # noqa: E402
from converters.compress import BinaryConv2d, BinaryLinear, Sign  # noqa: E402
from converters.encodings import bcsr, csr, pairs, panels, rows, scaled  # noqa: E402
from converters.encodings import ternary as planes  # noqa: E402
from converters.encodings.stream import Encoded  # noqa: E402
from converters.graph import NONE, RELU, Activation, Graph, Matrix, Op, Symbol, Value, Weight  # noqa: E402

BATCH = Symbol("batch", "s0", 1, 64)


def matrix(m: int, k: int, density: float, distinct: int, seed: int) -> Matrix:
    """Random values, few of them distinct and the low ones frequent, and zeros."""
    random = np.random.default_rng(seed)
    book = (random.standard_normal(distinct) / 4).astype(np.float32)
    w = book[(random.random((m, k)) ** 3 * distinct).astype(int)]
    w[random.random((m, k)) >= density] = 0
    return w


def linear(path: Path) -> None:
    """One input through a linear layer of every encoding, side by side."""
    wide, many = matrix(12, 700, 0.008, 12, 1), matrix(40, 300, 0.4, 4, 6)
    wide[3] = 0
    many[39] = 0
    short, long = csr.collect(wide, 8), csr.collect(wide, 16)
    small = np.ascontiguousarray(matrix(19, 700, 0.5, 5, 2)[:, :40])
    encodings: dict[str, Encoded] = {
        "csr8": csr.encode(wide, 1, short, "f32", False),
        "csr8_codebook": csr.encode(wide, 1, short, "codebook", False),
        "csr8_huffman": csr.encode(many[:4].copy(), 1, csr.collect(many[:4], 8), "f32", True),
        "csr8_codebook_huffman": csr.encode(many, 1, csr.collect(many, 8), "codebook", True),  # two panels
        "csr16": csr.encode(wide, 1, long, "f32", False),
        "csr16_codebook_huffman": csr.encode(many[:4].copy(), 1, csr.collect(many[:4], 16), "codebook", True),
        "panels": panels.encode(small[:3, :17].copy(), 1, "f32", False),
        "panels_codebook": panels.encode(small, 1, "codebook", False),
        "panels_codebook_huffman": panels.encode(small, 1, "codebook", True),
    }
    write_linear(path, encodings)


def write_linear(path: Path, encodings: dict[str, Encoded]) -> None:
    """Slices of one input of 700 features, each through a linear layer."""
    x = Value(("s0", 700), (2, 700), "x", 1)
    graph = Graph([BATCH], [x])
    for name, encoded in encodings.items():
        source = x
        if encoded.cols != x.shape[1]:
            source = Value(("s0", encoded.cols), (2, encoded.cols), channel_axis=1)
            attrs = {"axis": 1, "start": 5, "stop": 5 + encoded.cols, "step": 1}
            graph.ops.append(Op("slice", [x], source, dict(attrs), name=name))
        y = Value(("s0", encoded.rows), (2, encoded.rows), name, 1)
        weight = Weight(name, np.zeros((1, 1), np.float32), "matrix")
        graph.ops.append(Op("linear", [source], y, weights=[weight], layout=1, name=name, source="make.py:1"))
        graph.outputs.append(y)
    weights = [op.weights[0] for op in graph.ops if op.weights]
    format.write(graph, dict(zip(weights, encodings.values(), strict=True)), path)


def blocks(path: Path) -> None:
    """One input through a linear layer of every encoding of rows in blocks, side by side."""
    random = np.random.default_rng(7)
    wide = np.repeat(matrix(3, 700, 0.01, 12, 7), 4, 0)
    many = np.repeat(matrix(24, 300, 0.3, 4, 8), 4, 0) * random.choice([0.5, 1, 1, 2], (96, 300))
    short, long = bcsr.collect(wide, 8), bcsr.collect(wide, 16)
    many = many.astype(np.float32)
    full = bcsr.collect(many, 8)
    write_linear(
        path,
        {
            "bcsr8": bcsr.encode(wide, 1, short, "f32", False),
            "bcsr8_codebook": bcsr.encode(wide, 1, short, "codebook", False),
            "bcsr8_f16_huffman": bcsr.encode(many, 1, full, "f16", True),
            "bcsr8_codebook_huffman": bcsr.encode(many, 1, full, "codebook", True),  # several panels
            "bcsr16": bcsr.encode(wide, 1, long, "f32", False),
        },
    )


def patterns(path: Path) -> None:
    """The same for larger blocks, rows in another order, and two of four columns."""
    random = np.random.default_rng(8)
    eight = random.permutation(np.repeat(matrix(4, 48, 0.3, 200, 9), 8, 0))
    sixteen = random.permutation(np.repeat(matrix(3, 48, 0.3, 4, 10), 16, 0))
    two = matrix(21, 48, 1, 7, 11) * (random.random((21, 12, 4)).argsort(2) < 2).reshape(21, 48)
    two = two.astype(np.float32)
    in_order = bcsr.collect(np.repeat(matrix(3, 48, 0.3, 4, 10), 16, 0), 8, 16)
    moved = {b: bcsr.collect(m, 8, b, bcsr.find_order(m, 1, b)) for b, m in ((8, eight), (16, sixteen))}
    write_linear(
        path,
        {
            "b8csr8": bcsr.encode(eight, 1, moved[8], "f32", False),
            "b16csr8": bcsr.encode(np.zeros((48, 48), np.float32), 1, in_order, "f32", False),
            "b16csr8_codebook_huffman": bcsr.encode(sixteen, 1, moved[16], "codebook", True),
            "2:4": pairs.encode(two, 1, "f32"),
            "2:4_f16": pairs.encode(two, 1, "f16"),
            "2:4_codebook": pairs.encode(two, 1, "codebook"),
        },
    )


def conv(path: Path) -> None:
    """Depthwise, grouped, strided and dilated convolutions with bias, residual and activation."""
    x = Value(("s0", 6, "s1", "s2"), (2, 6, 9, 8), "x", 1)
    graph = Graph([BATCH, Symbol("height", "s1", 4, 512), Symbol("width", "s2", 4, 512)], [x])
    tensors: dict[Weight, Encoded] = {}

    def add(name: str, source: Value, encoded: Encoded, residual: bool, act: Activation, *size: int) -> Value:
        names = "kh kw sh sw pad_top pad_left pad_bottom pad_right dh dw".split()  # noqa: SIM905
        y = Value(("s0", encoded.rows, "a", "b"), (2, encoded.rows, 0, 0), name, 1)
        bias = np.linspace(-1, 1, encoded.rows, dtype=np.float32)[:, None]
        weights = [Weight(f"{name}.{part}", bias, "matrix") for part in ("weight", "bias")]
        tensors.update(zip(weights, (encoded, rows.encode(bias, 1, "f32")), strict=True))
        inputs = [source, source] if residual else [source]
        graph.ops.append(Op("conv2d", inputs, y, dict(zip(names, size, strict=True)), weights, act, 1, name))
        graph.outputs.append(y)
        return y

    depthwise, grouped, sparse = matrix(6, 9, 0.6, 3, 3), matrix(9, 8, 0.5, 200, 4), matrix(6, 54, 0.1, 9, 5)
    same = (3, 3, 1, 1, 1, 1, 1, 1, 1, 1)
    clip, leaky = Activation("clamp", -0.5, 0.75), Activation("leaky_relu", 0.1)
    y = add("depthwise", x, rows.encode(depthwise, 6, "f32"), True, RELU, *same)
    y = add("depthwise_codebook", y, rows.encode(depthwise, 6, "codebook"), False, clip, *same)
    entries = csr.collect(depthwise, 8)
    y = add("depthwise_csr", y, csr.encode(depthwise, 6, entries, "codebook", False), True, NONE, *same)
    add("grouped", y, panels.encode(grouped, 3, "f32", False), False, leaky, 2, 2, 2, 1, 1, 0, 0, 2, 1, 1)
    entries = csr.collect(sparse, 8)
    add(
        "sparse",
        y,
        csr.encode(sparse, 1, entries, "codebook", True),
        False,
        RELU,
        3,
        3,
        1,
        2,
        2,
        2,
        2,
        2,
        2,
        2,
    )
    format.write(graph, tensors, path)


class AllOps(nn.Module):
    """Every op of the format."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)
        self.map = nn.Parameter(torch.randn(6, 5))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.hardswish(self.conv(F.pad(x, (1, 0, 0, 1), value=0.25)))
        low = F.interpolate(F.max_pool2d(x, 3, 2, 1), scale_factor=2.0, mode="bilinear")
        gate = torch.sigmoid(F.adaptive_avg_pool2d(x, 1))
        x = self.norm(F.relu(x)) * gate
        x = torch.cat([x[:, 2:6], low[:, :4]], 1)
        tokens = F.adaptive_avg_pool2d(x, (2, 3)).flatten(2).permute(0, 2, 1)
        scores = F.gelu(self.fc(tokens)) + self.map
        return {
            "scores": torch.softmax(scores, -1),
            "log": torch.log_softmax(scores, 1),
            "mean": 2 - x.mean((2, 3)),
        }


def ops(path: Path) -> None:
    converters.convert(AllOps(), torch.randn(2, 4, 7, 9), path, progress=False)


class Fake(nn.Module):
    def __init__(self, scale: float, zero: int) -> None:
        super().__init__()
        self.scale, self.zero = scale, zero

    def forward(self, x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero, 0, 255)


class Rows(nn.Module):
    """Weights on a grid of -64..64 per row."""

    def forward(self, w: Tensor) -> Tensor:
        scale = w.detach().flatten(1).abs().amax(1) / 64
        zero = torch.zeros(len(w), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(w, scale, zero, 0, -64, 64)


class AllIntegers(nn.Module):
    """Every integer op, and every op that moves u8 values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.strided = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 5, 3, 2, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped, self.fc = nn.Conv2d(8, 16, 1, groups=2), nn.Linear(5, 7)
        for layer in (self.conv, self.strided, self.depthwise, self.grouped, self.fc):
            torch.nn.utils.parametrize.register_parametrization(layer, "weight", Rows())
        self.x, self.a, self.b, self.c = Fake(0.02, 131), Fake(0.01, 0), Fake(0.015, 90), Fake(0.03, 128)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.x(x)
        a = self.a(F.relu(self.conv(x)))
        b = self.b(self.depthwise(a) + a)
        c = self.c(b + self.b(F.hardswish(b)))
        c = self.c(torch.cat([c[:, 4:], F.pad(c[:, 1:4, ::2, 1:], (0, 1, 2, 1, 1, 0))], 1))
        d = self.b(F.relu(self.strided(F.max_pool2d(c, 3, 1, 1))))
        return {"y": self.fc(self.b(d.mean((2, 3)))), "grouped": self.grouped(c)}


def integers(path: Path) -> None:
    converters.convert(AllIntegers(), torch.randn(2, 6, 7, 9), path, progress=False, dynamic_batch=False)


def grids(path: Path) -> None:
    """One input through linear layers of 8 and 4 bits, with scales of f32 and f16, side by side."""
    random = np.random.default_rng(9)

    def on_grid(most: int, step: Matrix, columns: int) -> Encoded:
        """[M, K] of integers up to `most`, the scales `step` [M, groups]."""
        rows = len(step)
        integers = random.integers(-most, most + 1, (rows, 333)).astype(np.float32)
        integers[:, ::32] = most
        weight = integers * np.repeat(step, columns, 1)[:, :333]
        found = scaled.find(weight)
        assert found is not None and found.columns == columns
        return scaled.encode(weight, 1, found)

    def steps(rows: int, groups: int, dtype: type) -> Matrix:
        return (random.random((rows, groups)) / 8 + 0.01).astype(dtype).astype(np.float32)

    write_linear(
        path,
        {
            "q8": on_grid(127, steps(19, 1, np.float32), 352),
            "q8g128": on_grid(127, steps(5, 3, np.float16), 128),
            "q4": on_grid(7, steps(3, 1, np.float16), 352),
            "q4g32": on_grid(7, steps(20, 11, np.float32), 32),
        },
    )


def ternary(path: Path) -> None:
    """One input through linear layers of one and two bits a weight, side by side."""
    random = np.random.default_rng(11)

    def of(rows: int, cols: int, *values: float) -> Encoded:
        """[M, K] of so many values, times one of each row."""
        weight = random.choice(np.array(values, np.float32), (rows, cols))
        weight *= (random.random((rows, 1)) + 0.5).astype(np.float32)
        weight[1] = 0
        found = planes.find(weight)
        assert found is not None
        return planes.encode(weight, 1, found)

    write_linear(
        path,
        {
            "binary": of(35, 333, -1, 1),
            "ternary": of(19, 333, -1, 0, 1),
            "ttq": of(5, 64, -0.25, 0, 1.5),
            "positive": of(16, 65, 0.5, 2),
        },
    )


class AllBits(nn.Module):
    """Signs of a float layer; bits to bits with a stride, zero padding and batch norm; max pool; linear."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 40, 1)
        self.b = BinaryConv2d(40, 70, 3, 2, 1, bias=False, sign=Sign(), scale="none")
        self.norm = nn.BatchNorm2d(70, eps=0)
        self.c = BinaryConv2d(70, 70, 3, padding=1, bias=False, sign=None, scale="none", pad_value=1)
        self.d = BinaryLinear(70 * 4, 5, bias=False, sign=Sign(), scale="none")
        set_weights(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.norm(self.b(self.a(x)))
        signs = F.max_pool2d(torch.where(y >= 0, 1.0, -1.0), 2)
        c = F.relu(self.c(signs)) + signs
        return {"y": self.d(c.flatten(1)), "c": c}


def set_weights(module: nn.Module) -> None:
    """Eighths, of which sums are exact."""
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for name, tensor in sorted(module.state_dict().items()):
            if tensor.is_floating_point():
                low = 1 if "running_var" in name else -8
                tensor.copy_(torch.from_numpy(rng.integers(low, 9, tuple(tensor.shape)) / 8))
    module.norm.running_var.fill_(4)  # type: ignore[operator, union-attr]


def bits(path: Path) -> None:
    converters.convert(AllBits().eval(), torch.ones(2, 3, 8, 8), path, progress=False, dynamic_batch=False)


class Sequences(nn.Module):
    """Recurrent layers, a norm, attention with a causal mask, and a weight of codewords."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(12, 8, bidirectional=True, batch_first=True)
        self.gru, self.norm = nn.GRU(16, 24, batch_first=True), nn.LayerNorm(24)
        self.fc = nn.Linear(24, 20)
        with torch.no_grad():
            book = torch.randint(-8, 9, (5, 8)) / 8
            self.fc.weight.copy_(book[torch.randint(5, (20, 3))].flatten(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y, _ = self.gru(self.lstm(x)[0])
        y = self.norm(y)
        heads = y.unflatten(2, (3, 8)).transpose(1, 2)
        attended = F.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
        return {"y": self.fc(attended.transpose(1, 2).flatten(2)), "norm": y}


def sequences(path: Path) -> None:
    converters.convert(Sequences(), torch.randn(2, 7, 12), path, progress=False, prefer="size")


GOLDEN = {
    "bits": (bits, (2, 3, 8, 8)),
    "integers": (integers, (2, 6, 7, 9)),
    "linear": (linear, (3, 700)),
    "blocks": (blocks, (3, 700)),
    "grids": (grids, (3, 700)),
    "ternary": (ternary, (3, 700)),
    "patterns": (patterns, (3, 700)),
    "conv": (conv, (1, 6, 7, 6)),
    "ops": (ops, (2, 4, 7, 9)),
    "sequences": (sequences, (3, 7, 12)),
}


def main() -> None:
    for name in sys.argv[1:] or GOLDEN:
        make, shape = GOLDEN[name]
        path = FOLDER / f"{name}.pyrt"
        make(path)
        file = pyrt_reader.read(path)
        x = np.random.default_rng(0).integers(-8, 9, shape).astype(np.float32) / 8
        arrays = {f"in.{file.values[file.inputs[0]].name}": x}
        arrays |= {f"w.{t.name}": file.dense(i) for i, t in enumerate(file.tensors)}
        outputs = pyrt_reader.run(file, x, torch.float64)
        arrays |= {f"out.{k}": v.astype(np.float32) for k, v in outputs.items()}
        np.savez_compressed(path.with_suffix(".npz"), **arrays)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
