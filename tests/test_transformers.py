"""Models of transformers, as they are, against torch: batches and lengths from one file, masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pyrt_reader
import pytest
import torch
from test_ops import ISAS
from torch import Tensor, nn

import converters
import pyruntime
from pyruntime.measure import peak_memory

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SMALL = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 40}


def small(name: str, implementation: str) -> nn.Module:
    torch.manual_seed(0)
    more: dict[str, Any] = {"num_attention_heads": 4, "attn_implementation": implementation}
    more["num_hidden_layers"] = 3 if name == "Albert" else 1
    if name == "Albert":
        more["embedding_size"] = 16
    if name == "DistilBert":
        more |= {"dim": 32, "n_heads": 4, "hidden_dim": 48, "n_layers": 1}
    config = getattr(transformers, f"{name}Config")(**SMALL, **more)
    model: nn.Module = getattr(transformers, f"{name}Model")(config)
    return model.eval()


class Hidden(nn.Module):
    """The last hidden state alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


def sentences(batch: int, length: int, vocabulary: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(batch * 1000 + length)
    ids = torch.randint(2, vocabulary, (batch, length), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(batch):
        mask[row, max(1, length - 2 * row) :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def assert_equal(module: nn.Module, path: Path, sizes: list[tuple[int, int]], vocabulary: int) -> None:
    with pyruntime.load(path) as model:
        assert [info.shape for info in model.inputs] == [("batch", "length")] * 2
        for batch, length in sizes:
            inputs = sentences(batch, length, vocabulary)
            with torch.no_grad():
                wanted = module(**inputs).numpy()
            found = model.infer({name: x.numpy() for name, x in inputs.items()})
            assert isinstance(found, np.ndarray)
            assert np.abs(found - wanted).max() < 1e-5 * np.linalg.norm(wanted, axis=-1).max()


@pytest.mark.parametrize("name", ["Bert", "Roberta", "Albert", "DistilBert"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_models(name: str, implementation: str, tmp_path: Path) -> None:
    module = Hidden(small(name, implementation))
    converters.convert(module, sentences(1, 9, 60), tmp_path / "net.pyrt", progress=False)
    assert_equal(module, tmp_path / "net.pyrt", [(1, 1), (3, 17), (2, 38)], 60)
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        kinds = [row[1] for row in model.table().rows]
        assert kinds.count("attention") == (3 if name == "Albert" else 1)
        assert not {"softmax", "product", "permute"} & set(kinds)
        # Vectors of ones and zeros are shared by all.
        shared = [
            row for row in model.table().rows if row[1] == "linear" and row[2].startswith("shared with")
        ]
        assert bool(shared) == (name == "Albert")


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("Bert", "ForSequenceClassification"),
        ("DistilBert", "ForQuestionAnswering"),
        ("GPT2", "LMHeadModel"),
    ],
)
def test_models_with_heads_as_they_are(name: str, head: str, tmp_path: Path) -> None:
    """No wrapper: inputs by keyword, every output that is a tensor."""
    torch.manual_seed(0)
    if name == "GPT2":
        sizes = {"vocab_size": 60, "n_positions": 40, "n_embd": 32, "n_layer": 1, "n_head": 4}
        config = transformers.GPT2Config(**sizes, use_cache=False, bos_token_id=1, eos_token_id=1)
    else:
        config = small(name, "sdpa").config
    module = getattr(transformers, name + head)(config).eval()
    report = converters.convert(module, sentences(2, 9, 60), tmp_path / "net.pyrt", progress=False)
    if name == "GPT2":  # the table is the output layer, and of no weight are there two
        assert report.file_bytes < 1.1 * 4 * sum(p.numel() for p in module.parameters()) + 10_000
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        assert [info.shape for info in model.inputs] == [("batch", "length")] * 2
        for batch, length in ((1, 1), (3, 17), (2, 38)):
            inputs = sentences(batch, length, 60)
            with torch.no_grad():
                wanted = [x for x in module(**inputs).values() if isinstance(x, Tensor)]
            y = model.infer({name: x.numpy() for name, x in inputs.items()})
            found = list(y.values()) if isinstance(y, dict) else [y]
            for a, b in zip(found, wanted, strict=True):
                # Causal attention of padding to nothing is not a number in torch.
                seen = inputs["attention_mask"].bool() if b.shape[:2] == (batch, length) else ...
                np.testing.assert_allclose(torch.from_numpy(a)[seen], b[seen], atol=1e-5, rtol=1e-4)


def shared_tables(path: Path) -> list[str]:
    """Embedding tables and what other layers take from them, as the summary says it."""
    with pyruntime.load(path) as model:
        rows = model.table().rows
    tables = [row[0] for row in rows if row[1] == "embedding"]
    return [row[0] for row in rows if row[2] in {f"shared with {table}" for table in tables}]


@pytest.mark.parametrize("name", ["Bert", "DistilBert"])
def test_a_table_tied_to_the_output_layer_is_stored_once(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = small(name, "sdpa")
    model = getattr(transformers, f"{name}ForMaskedLM")(encoder.config).eval()

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
            return logits

    module = Logits()
    path = tmp_path / "net.pyrt"
    sizes = [converters.convert(module, sentences(1, 9, 60), path, progress=False).file_bytes]
    assert_equal(module, path, [(1, 1), (3, 17), (2, 38)], 60)
    (decoder,) = shared_tables(path)
    assert decoder.endswith(("decoder", "projector"))
    layer = model.get_submodule(decoder.removeprefix("model."))
    layer.weight = nn.Parameter(torch.randn(60, 32))
    sizes.append(converters.convert(module, sentences(1, 9, 60), path, progress=False).file_bytes)
    assert sizes[1] - sizes[0] >= 4 * 60 * 32
    assert shared_tables(path) == []


def test_memory_is_measured_of_models_with_integer_inputs(tmp_path: Path) -> None:
    module = Hidden(small("Bert", "sdpa"))
    converters.convert(module, sentences(1, 9, 60), tmp_path / "net.pyrt", progress=False)
    memory = peak_memory(tmp_path / "net.pyrt", threads=1, batch=2, length=7)
    if memory is None:
        pytest.skip("no /proc")
    assert memory.outputs == 4 * 2 * 7 * 32
    assert abs(memory.difference) < 4_000_000


def test_one_layer_called_often_is_mapped_once(tmp_path: Path) -> None:
    """ALBERT next to BERT of the same sizes: file and memory are as their parameters."""
    sizes = {"vocab_size": 60, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
    files, used, parameters = [], [], []
    for name in ("Bert", "Albert"):
        config = getattr(transformers, f"{name}Config")(**sizes, num_hidden_layers=8)
        module = Hidden(getattr(transformers, f"{name}Model")(config, add_pooling_layer=False)).eval()
        report = converters.convert(module, sentences(1, 9, 60), tmp_path / "net.pyrt", progress=False)
        memory = peak_memory(tmp_path / "net.pyrt", threads=1, batch=1, length=9)
        if memory is None:
            pytest.skip("no /proc")
        files.append(report.file_bytes)
        used.append(memory.peak - memory.baseline)
        parameters.append(4 * sum(p.numel() for p in module.parameters()))
    assert parameters[0] > 6 * parameters[1]
    assert files == pytest.approx(parameters, rel=0.03)
    assert used[0] - used[1] == pytest.approx(parameters[0] - parameters[1], rel=0.1)


class TiedTable(nn.Module):
    """Rows of a table, and their products with all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(70, 48)
        self.between = nn.Linear(48, 48)

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.linear(self.between(self.table(ids)), self.table.weight)


@pytest.mark.parametrize("form", ["f16", "codebook", "7 bits", "product", "zeros"])
@pytest.mark.parametrize("prefer", ["size", "speed"])
def test_tied_tables_stay_compressed(form: str, prefer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = TiedTable().eval()
    weight = module.table.weight.data
    if form == "f16":
        weight.copy_(weight.half())
    elif form == "product":
        weight.copy_(torch.randn(30, 8)[torch.randint(30, (70 * 6,))].view(70, 48))
    elif form == "zeros":
        weight[weight.abs() < 1] = 0
    else:
        n = 13 if form == "codebook" else 100
        weight.copy_(torch.randn(n)[torch.randint(n, (70, 48))])
    ids = torch.randint(70, (2, 9))
    path = tmp_path / "net.pyrt"
    report = converters.convert(module, ids, path, prefer=prefer, progress=False)
    assert [layer.name for layer in report.layers].count("table.weight") == 1
    (table,) = (layer for layer in report.layers if layer.name == "table.weight")
    expected = {"f16": "f16", "product": "pq", "zeros": "f32"}.get(form, "codebook")
    assert expected in table.encoding or prefer == "speed"
    assert np.array_equal(pyrt_reader.read(path).tensor("table.weight"), weight)
    for isa in ISAS:
        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            patch.setenv("PYRUNTIME_ISA", isa)
            with pyruntime.load(path) as model:
                found = model.infer(ids.numpy())
            np.testing.assert_allclose(found, module(ids), rtol=0, atol=1e-4)


def test_minilm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1])
    from examples import minilm

    try:
        module = minilm.load_module()
    except ModuleNotFoundError as missing:
        pytest.skip(str(missing))
    converters.convert(module, sentences(1, 16, 30000), tmp_path / "minilm.pyrt", progress=False)
    assert_equal(
        module, tmp_path / "minilm.pyrt", [(1, 1), (32, 1), (2, 7), (5, 129), (1, 256), (32, 256)], 30000
    )
