"""The cost table: of this machine after `pyruntime tune`, else the shipped one; and what is chosen by it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import converters
from converters import tune
from converters.encodings import choose
from converters.encodings.costs import costs, own_table
from converters.graph import Weight
from pyruntime import cli


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    costs.cache_clear()
    yield
    costs.cache_clear()


def flat_costs(kind: str, taps: bool) -> dict[str, float]:
    """As if a column of a CSR entry took exactly twice as long as one of a dense entry, or four times as long
    where there are taps, and everything else nothing."""
    slow = (4.0 if taps else 2.0) if kind.startswith("csr") else 1.0
    return {"layer_ns": 0.0, "entry_ns": slow, "column_ns": slow}


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tune, "measure", flat_costs)
    assert cli.main(["tune"]) == 0
    return own_table()


def sparse_weight(zeros: float, taps: int = 1) -> Weight:
    random = np.random.default_rng(0)
    matrix = random.standard_normal((32, 90)).astype(np.float32)
    matrix.ravel()[random.permutation(matrix.size)[: round(zeros * matrix.size)]] = 0
    return Weight("w", matrix, "matrix", columns=100, taps=taps)


def test_shipped_table_knows_what_tune_measures() -> None:
    assert not costs().here
    assert costs().one_tap.keys() == tune.WEIGHTS.keys()
    assert costs().many_taps.keys() == {kind for kind in tune.WEIGHTS if not kind.startswith(("rows", "2:4"))}


def test_tune_writes_the_table_that_is_used(tuned: Path) -> None:
    assert costs().here
    assert json.loads(tuned.read_text())["one_tap"]["csr+f32"]["column_ns"] == 2.0


@pytest.mark.parametrize(
    "zeros, taps, kind", [(0.45, 1, "panels"), (0.55, 1, "csr"), (0.7, 9, "panels"), (0.8, 9, "csr")]
)
def test_csr_from_the_break_even_on(tuned: Path, zeros: float, taps: int, kind: str) -> None:
    weight = sparse_weight(zeros, taps)
    assert choose.break_even(weight) == pytest.approx(0.75 if taps > 1 else 0.5)
    choice = choose.choose(weight, "auto")
    assert choice.encoded.structure == kind
    assert f"{zeros:.0%} zeros: CSR breaks even at {'75%' if taps > 1 else '50%'} here" in choice.why


def test_shipped_costs_are_named() -> None:
    assert "where the shipped costs were measured" in choose.choose(sparse_weight(0.9), "auto").why


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"one_tap": {}, "many_taps": {}}', '{"one_tap": 1, "many_taps": 2}']
)
def test_broken_table(text: str, tmp_path: Path) -> None:
    own_table().parent.mkdir(parents=True)
    own_table().write_text(text)
    with pytest.raises(converters.ConvertError, match="run `pyruntime tune` again, or remove it"):
        converters.convert(nn.Linear(8, 8), torch.zeros(1, 8), tmp_path / "m.pyrt", progress=False)


def test_each_instruction_set_has_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRUNTIME_ISA", "ref")
    reference = own_table()
    monkeypatch.setenv("PYRUNTIME_ISA", "avx2")
    assert own_table() != reference


@pytest.mark.parametrize(
    "kind, taps", [("csr+codebook+huffman", False), ("panels+f16", True), ("rows+f32", False)]
)
def test_measure(kind: str, taps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "RUNS", 2)
    monkeypatch.setattr(tune, "LINEAR", ((16, 128), (32, 128), (48, 128)))
    monkeypatch.setattr(tune, "CHANNELS", (16, 32, 48))
    cost = tune.measure(kind, taps)
    assert cost.keys() == {"layer_ns", "entry_ns", "column_ns"}
    assert min(cost.values()) >= 0 and max(cost.values()) > 0


def test_weights_that_do_not_suit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="codebook"):
        tune.write_as(nn.Linear(64, 64), torch.zeros(1, 64), "csr+codebook", tmp_path / "m.pyrt")
