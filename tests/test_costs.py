"""The cost table: of this machine after `pyruntime tune`, else the shipped one; and what is chosen by it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import converters
from converters import pipeline, tune
from converters.encodings import choose
from converters.encodings import costs as costs_module
from converters.encodings.costs import COLUMNS, costs, own_table
from converters.graph import Weight, Window
from pyruntime import cli


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    costs.cache_clear()
    yield
    costs.cache_clear()


def flat_costs(kind: str, window: str) -> dict[str, object]:
    """As if a column of a CSR entry took exactly twice as long as one of a dense entry, or four times as long
    for a 3x3 convolution, a dense integer half as long, and everything else nothing."""
    slow = (4.0 if window == "3x3" else 2.0) if kind.startswith("csr") else 1.0
    if costs_module.is_integer(kind) and not costs_module.is_expanded(kind):
        slow = 0.5
    return {
        "entry_ns": [slow * columns for columns in COLUMNS],
        "input_ns": [0.0] * len(COLUMNS),
        "entry_bytes": 1.0,
    }


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tune, "_layers", lambda window, folder: window)
    monkeypatch.setattr(tune, "_byte_ns", lambda: 1000.0)
    monkeypatch.setattr(tune, "measure", flat_costs)
    assert cli.main(["tune"]) == 0
    return own_table()


def sparse_weight(zeros: float, window: Window = "1x1") -> Weight:
    random = np.random.default_rng(0)
    matrix = random.standard_normal((32, 90)).astype(np.float32)
    matrix.ravel()[random.permutation(matrix.size)[: round(zeros * matrix.size)]] = 0
    return Weight("w", matrix, "matrix", columns=100, window=window)


def test_shipped_table_knows_what_tune_measures() -> None:
    assert not costs().here
    windows = costs().windows
    assert windows["1x1"].keys() == tune.WEIGHTS.keys()
    products = {kind for kind in tune.WEIGHTS if not kind.startswith(("rows", "2:4"))}
    assert windows["3x3"].keys() == windows["other"].keys() == products


def test_tune_writes_the_table_that_is_used(tuned: Path) -> None:
    assert costs().here
    assert json.loads(tuned.read_text())["1x1"]["csr+f32"]["entry_ns"][:2] == [2.0, 8.0]


@pytest.mark.parametrize(
    "zeros, window, kind",
    [(0.45, "1x1", "panels"), (0.55, "1x1", "csr"), (0.7, "3x3", "panels"), (0.8, "3x3", "csr")],
)
def test_csr_from_the_break_even_on(tuned: Path, zeros: float, window: Window, kind: str) -> None:
    weight = sparse_weight(zeros, window)
    assert choose.break_even(weight) == pytest.approx(0.75 if window == "3x3" else 0.5)
    choice = choose.choose(weight, "auto")
    assert choice.encoded.structure == kind
    assert f"{zeros:.0%} zeros: CSR breaks even at {'75%' if window == '3x3' else '50%'} here" in choice.why


def test_costs_between_and_beyond_the_measured_columns(tuned: Path) -> None:
    weight = sparse_weight(0)
    for columns in (1, 3, 100, 1000, 2 * COLUMNS[-1]):
        weight.columns = columns
        assert costs().of("csr+f32", weight) == (pytest.approx(2 * columns), 0)


def test_weights_from_memory_take_as_long_as_their_bytes(tuned: Path) -> None:
    weight = sparse_weight(0.1)
    weight.cold = True  # a byte of either encoding takes 1000 ns, more than the product
    assert choose.break_even(weight) == pytest.approx(0)
    assert choose.choose(weight, "auto").encoded.structure == "csr"


def test_a_net_that_no_cache_holds_is_cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def note(weight: Weight, prefer: choose.Prefer) -> choose.Choice:
        found.append(weight.cold)
        return choose.choose(weight, prefer)

    monkeypatch.setattr(pipeline, "choose", note)
    for cached, cold in ((1 << 20, False), (100, True)):
        monkeypatch.setattr(pipeline, "CACHED", cached)
        converters.convert(nn.Linear(8, 8), torch.zeros(1, 8), tmp_path / "m.pyrt", progress=False)
        assert set(found) == {cold}
        found.clear()


def test_shipped_costs_are_named() -> None:
    assert "where the shipped costs were measured" in choose.choose(sparse_weight(0.9), "auto").why


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '{"1x1": {}, "3x3": {}, "other": {}, "byte_ns": 1}',
        '{"1x1": 1, "3x3": 2, "other": 3}',
    ],
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
    "kind, window", [("csr+codebook+huffman", "1x1"), ("panels+f16", "3x3"), ("rows+f32", "depthwise")]
)
def test_measure(kind: str, window: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "RUNS", 2)
    monkeypatch.setattr(tune, "SECONDS", 0.0)
    monkeypatch.setitem(tune.CHANNELS, window, (128, 16))
    monkeypatch.setattr(costs_module, "COLUMNS", (1, 9))
    cost = tune.measure(kind, tune._layers(window, tmp_path))
    assert len(cost["entry_ns"]) == len(cost["input_ns"]) == 2
    assert min(cost["entry_ns"]) > 0 and min(cost["input_ns"]) >= 0
    assert 0 < cost["entry_bytes"] < 9


def test_weights_that_do_not_suit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="codebook"):
        tune.write_as(nn.Linear(64, 64), torch.zeros(1, 64), "csr+codebook", tmp_path / "m.pyrt")


def test_integers_say_what_share_of_the_float_time_they_take(tuned: Path) -> None:
    """Those of the table above: half."""
    matrix = np.random.default_rng(0).integers(-64, 65, (32, 96)).astype(np.int8)
    weight = Weight("w", matrix, "s8 matrix", columns=100)
    dense, small = (choose.choose(weight, prefer) for prefer in ("auto", "size"))
    assert dense.encoded.kind == "panels+s8"
    assert dense.why == "computed on as integers, in 0.50x the time of plain f32"
    assert dense.time_ns == pytest.approx(32 * 96 * 50)
    assert small.encoded.kind == "panels+s8book+huffman"
    assert small.why.startswith(dense.why + " and 1.00x that of s8, with 95")
    depthwise = choose.choose(Weight("w", matrix[:, :9].copy(), "s8 depthwise", columns=100), "auto")
    assert depthwise.encoded.kind == "rows+s8" and "0.67x" in depthwise.why  # nine taps are stored as twelve


def test_integers_are_compact_where_that_halves_them_in_time(tuned: Path) -> None:
    """An entry of CSR costs twice what a dense weight does, on top of all dense ones."""
    random = np.random.default_rng(0)
    for zeros, kind in ((0.0, "panels+s8"), (0.85, "panels+s8book+huffman"), (0.97, "csr+s8")):
        matrix = random.integers(-64, 65, (64, 2000)).astype(np.int8)
        matrix.ravel()[random.permutation(matrix.size)[: round(zeros * matrix.size)]] = 0
        weight = Weight("w", matrix, "s8 matrix", columns=100)
        choice = choose.choose(weight, "auto")
        assert choice.encoded.kind.startswith(kind)
        assert choose.choose(weight, "speed").encoded.kind == "panels+s8"
    assert "x that of s8, with " in choice.why
