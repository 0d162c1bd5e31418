"""The layers of bench/kernels.py as a pytest-benchmark suite, on one thread: python -m pytest bench."""

from collections.abc import Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernels import LAYERS, limit_threads, make_engine, ways


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with limit_threads(1), torch.no_grad():
        yield


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(("name", "way"), [(name, way) for name in LAYERS for way in ways(name)])
def test_layer(name: str, way: str, benchmark: BenchmarkFixture) -> None:
    layer, engine = make_engine(way, name)
    benchmark.group = name
    benchmark.extra_info |= {"engine": engine.name, "weight_bytes": engine.weight_bytes, "nnz": layer.nnz}
    benchmark(engine.call)
