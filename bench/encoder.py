"""An encoder of MiniLM's shape (random weights) on one thread: torch, onnxruntime and pyruntime.

python bench/encoder.py [--layers 6] [--batch 1] [--length 128]
"""

from __future__ import annotations

import argparse
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

import converters
import pyruntime
from converters import compress


class Encoder(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        torch.manual_seed(0)
        sizes = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
        config = BertConfig(vocab_size=30522, num_hidden_layers=layers, **sizes)
        self.model = BertModel(config, add_pooling_layer=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


def onnx_session(module: nn.Module, inputs: dict[str, Tensor]) -> onnxruntime.InferenceSession:
    buffer = io.BytesIO()
    program = torch.onnx.export(module, (), kwargs=inputs, dynamo=True, verbose=False)
    assert program is not None
    program.save(buffer)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(buffer.getvalue(), options, ["CPUExecutionProvider"])


def pruned(layers: int, fraction: float) -> nn.Module:
    """Every linear layer's smallest weights set to zero."""
    module = Encoder(layers).eval()
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            weight = layer.weight.data
            weight[weight.abs() < weight.abs().flatten().kthvalue(int(fraction * weight.numel())).values] = 0
    return module


def interleaved(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """The least time of each in ms, all in turn, so that what else the machine does hits all of them."""
    best = dict.fromkeys(runs, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("layers", 6), ("batch", 1), ("length", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    shape = options.batch, options.length
    inputs = {
        "input_ids": torch.randint(2, 30000, shape),
        "attention_mask": torch.ones(shape, dtype=torch.int64),
    }
    arrays = {name: x.numpy() for name, x in inputs.items()}
    dense = Encoder(options.layers).eval()
    session = onnx_session(dense, inputs)
    nets = {
        "dense": dense,
        "int8": compress.quantize_dynamic(Encoder(options.layers).eval()),
        "pruned 80 %": pruned(options.layers, 0.8),
        "pruned 90 %": pruned(options.layers, 0.9),
    }

    def run_torch() -> object:
        with torch.no_grad():
            return dense(**inputs)

    runs: dict[str, Callable[[], object]] = {
        "torch": run_torch,
        "onnxruntime": lambda: session.run(None, arrays),
    }
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, net in nets.items():
            path = Path(folder) / f"{name.replace(' ', '')}.pyrt"
            converters.convert(net, inputs, path, progress=False, verify=False)
            model = pyruntime.load(path, threads=1)
            sizes[f"pyruntime {name}"] = path.stat().st_size
            runs[f"pyruntime {name}"] = lambda model=model: model.infer(arrays)  # type: ignore[misc]
        best = interleaved(runs, options.seconds)
    print(f"{options.layers} layers, batch {options.batch}, length {options.length}, 1 thread")
    for name, ms in best.items():
        size = f"{sizes[name] / 1e6:8.1f} MB" if name in sizes else ""
        print(f"{name:24s} {ms:8.2f} ms  {best['onnxruntime'] / ms:5.2f}x onnxruntime {size}")
    assert np.isfinite(list(best.values())).all()


if __name__ == "__main__":
    main()
