"""`pyruntime inspect | run | bench | verify FILE`, `pyruntime tune`. Tables need rich, `--json` nothing."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pyruntime import __version__
from pyruntime._core import Error
from pyruntime.measure import latency_ms, peak_memory
from pyruntime.model import Array, Model, load
from pyruntime.table import Table


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 with one line on stderr."""
    args = _parser().parse_args(argv)
    try:
        return int(args.command(args) or 0)
    except (Error, OSError) as error:
        print(f"pyruntime: {error}", file=sys.stderr)
        return 1


def inspect(args: argparse.Namespace) -> None:
    """Prints inputs, outputs and the layers as they are stored."""
    with load(args.file, 1) as model:
        core = model._core
        if args.json:
            memory = asdict(model.memory())
            parts = {key: getattr(core, key) for key in ("inputs", "outputs", "symbols", "ops", "tensors")}
            return _print_json({"file": str(args.file), "memory": memory, **parts})
        for info in model.inputs:
            print(f"input   {info.name}  {info.dtype} {_shape_text(info.shape)}")
        for symbol in core.symbols:
            print(f"        {symbol['name']} = {symbol['min']} .. {symbol['max']}")
        for output in model.outputs:
            print(f"output  {output.name}  {output.dtype}")
        _print_table(model.table())


def run(args: argparse.Namespace) -> None:
    """Infers once and prints, or writes, the outputs."""
    if args.random == (args.input is not None):
        raise Error("give an input file (.npy or .npz) or --random")
    with load(args.file, args.threads) as model:
        inputs = _random_inputs(model, args.dim) if args.random else _read_inputs(model, args.input)
        result = model.infer(inputs)
    outputs = result if isinstance(result, dict) else {model.outputs[0].name: result}
    if args.output:
        _write_outputs(outputs, args.output)
    if args.json:
        return _print_json({"outputs": {name: array.tolist() for name, array in outputs.items()}})
    for name, array in outputs.items():
        print(f"{name}  float32 {_shape_text(array.shape)}  min {array.min():.6g}  max {array.max():.6g}")


def bench(args: argparse.Namespace) -> None:
    """Prints latency, time by layer, and peak memory next to what the model declares."""
    sizes = dict(args.dim)
    with load(args.file, args.threads) as model:
        inputs = _random_inputs(model, args.dim)
        times = latency_ms(lambda: model.infer(inputs), args.seconds)
        profile = model.profile(inputs)
        isa, threads = model.isa, model.threads
    loads = latency_ms(lambda: load(args.file, args.threads).close(), 0.2)
    memory = peak_memory(args.file, args.threads, **sizes)
    p50, p90, p99 = (float(value) for value in np.percentile(times, (50, 90, 99)))
    first = next(iter(inputs.values()))
    results: dict[str, Any] = {
        "file": str(args.file),
        "isa": isa,
        "threads": threads,
        "input_shapes": {name: list(x.shape) for name, x in inputs.items()},
        "load_ms": float(np.median(loads)),
        "latency_ms": {"p50": p50, "p90": p90, "p99": p99, "runs": len(times)},
        "samples_per_s": (first.shape[0] if first.ndim else 1) / p50 * 1e3,
    }
    if memory:
        results["memory"] = {
            "baseline_bytes": memory.baseline,
            "peak_bytes": memory.peak,
            **asdict(memory.declared),
            "output_bytes": memory.outputs,
            "difference_bytes": memory.difference,
        }
    if args.json:
        return _print_json(results | {"profile": profile.to_dict()})
    print(f"{args.file}  isa {isa}  threads {threads}")
    for name, x in inputs.items():
        print(f"input {name} {_shape_text(x.shape)}")
    print(f"load {results['load_ms']:.2f} ms   throughput {results['samples_per_s']:,.1f} samples/s")
    print(f"latency p50 {p50:.3f} ms   p90 {p90:.3f} ms   p99 {p99:.3f} ms   ({len(times)} runs)")
    if memory:
        declared = memory.declared
        print(
            f"peak memory {memory.peak:,} = process {memory.baseline:,} + file {declared.file_bytes:,} "
            f"+ tables {declared.table_bytes:,} + arena {declared.arena_bytes:,} "
            f"+ outputs {memory.outputs:,} + difference {memory.difference:,} bytes"
        )
    _print_table(profile.table())


def verify(args: argparse.Namespace) -> int:
    """Checks every byte of a file; returns the exit status, 1 with the broken rule on stderr."""
    size = args.file.stat().st_size
    try:
        load(args.file, 1).close()
    except Error as error:
        if args.json:
            _print_json({"file": str(args.file), "ok": False, "error": str(error)})
        else:
            print(f"pyruntime: {error}", file=sys.stderr)
        return 1
    if args.json:
        _print_json({"file": str(args.file), "ok": True, "bytes": size})
    else:
        print(f"OK: all {size:,} bytes of {args.file} match their checksums or are zero padding")
    return 0


def tune(args: argparse.Namespace) -> None:
    """Measures what the encodings cost on this machine, for `convert` to choose by."""
    try:
        from converters.tune import tune as measure
    except ImportError as missing:
        raise Error(f"tuning needs the converter ({missing}): pip install 'pyruntime[convert]'") from None
    print(f"written to {measure()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pyruntime", description="Run compressed neural networks.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="inspect | run | bench | verify | tune")

    def command(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("file", type=Path, help="a .pyrt model")
        sub.add_argument("--json", action="store_true", help="print JSON")
        sub.set_defaults(command=function)
        return sub

    def running(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--threads", type=int, help="threads to use (default: all of this process)")
        sub.add_argument(
            "--dim",
            type=_dim,
            action="append",
            default=[],
            metavar="NAME=SIZE",
            help="size of a dynamic dimension of the random input (default: its minimum)",
        )

    command("inspect", inspect, "show inputs, outputs, layers and their encodings")
    sub = command("run", run, "run the model on arrays or random numbers")
    sub.add_argument("input", nargs="?", type=Path, help=".npy, or .npz with one array per input")
    sub.add_argument("--random", action="store_true", help="random input instead of a file")
    sub.add_argument("-o", "--output", type=Path, help="write .npy, or .npz with one array per output")
    running(sub)
    sub = command("bench", bench, "measure latency, load time, peak memory and each layer")
    sub.add_argument("--seconds", type=float, default=2.0, help="how long to repeat (default: 2)")
    running(sub)
    command("verify", verify, "check every byte of the file")
    text = "measure what encodings cost on this machine, for `convert` to choose by"
    commands.add_parser("tune", help=text, description=text).set_defaults(command=tune)
    return parser


def _dim(text: str) -> tuple[str, int]:
    name, _, size = text.partition("=")
    return name, int(size)


def _random_inputs(model: Model, dims: list[tuple[str, int]]) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    shapes = model.input_shapes(**dict(dims))
    return {
        # Of integers ones: a row of any table, and a mask that hides nothing.
        info.name: rng.standard_normal(shape, np.float32)
        if info.dtype == "float32"
        else np.ones(shape, info.dtype)
        for info, shape in zip(model.inputs, shapes, strict=True)
    }


def _read_inputs(model: Model, path: Path) -> Array | dict[str, Array]:
    loaded = np.load(path)
    if isinstance(loaded, np.ndarray):
        return loaded
    arrays = {name: loaded[name] for name in loaded.files}
    # One array for one input: whatever np.savez called it.
    return next(iter(arrays.values())) if len(arrays) == len(model.inputs) == 1 else arrays


def _write_outputs(outputs: Mapping[str, Array], path: Path) -> None:
    if path.suffix == ".npz":
        np.savez(path, **outputs)  # type: ignore[arg-type]
    elif path.suffix == ".npy" and len(outputs) == 1:
        np.save(path, next(iter(outputs.values())))
    else:
        raise Error(
            f"cannot write {len(outputs)} outputs to {path}: name a .npz file (or .npy for one output)"
        )


def _shape_text(shape: tuple[int | str, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _print_table(table: Table) -> None:
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable
    except ImportError:
        raise Error("tables need rich: pip install 'pyruntime[cli]' (or use --json)") from None
    rich = RichTable(box=box.SIMPLE_HEAD, show_footer=True)
    for i, (title, total) in enumerate(zip(table.columns, table.total, strict=True)):
        rich.add_column(title, total, justify="left" if i < table.text_columns else "right")
    for row in table.rows:
        rich.add_row(*row)
    # A file or a pipe has no width to fit the table to.
    Console(width=None if sys.stdout.isatty() else 1000).print(rich)
