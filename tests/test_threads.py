"""A model among threads, forks and reloads. What test_api.py shows for one call holds here for many."""

import gc
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import Converted

import pyruntime

FORK_SECONDS = 20


def batch(n: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, 3, 12, 12), np.float32)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def in_fork(child: Callable[[], None]) -> None:
    """Runs `child` in a forked process; fails when it raises or hangs."""
    pid = os.fork()
    if pid == 0:
        try:
            child()
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    deadline = time.monotonic() + FORK_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.005)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    pytest.fail(f"the child still hung after {FORK_SECONDS} s")


def test_threads_with_batches_of_their_own(cnn: Converted) -> None:
    """More shapes than a session remembers, more callers than sessions at first, one pool of two threads."""
    expected = {}
    with pyruntime.load(cnn.path, threads=1) as model:
        for n in range(1, 17):
            expected[n] = model.infer(batch(n))
    failures: list[str] = []

    def work(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(60):
            n = order.randint(1, 16)
            if not np.array_equal(model.infer(batch(n)), expected[n]):
                failures.append(f"thread {seed}, batch {n}")

    with pyruntime.load(cnn.path, threads=2) as model:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_an_error_in_one_thread_leaves_the_others_alone(cnn: Converted) -> None:
    with pyruntime.load(cnn.path, threads=2) as model, ThreadPoolExecutor(6) as pool:
        expected = model.infer(batch(2))

        def work(i: int) -> bool:
            if i % 3:
                return np.array_equal(model.infer(batch(2)), expected)
            with pytest.raises(pyruntime.Error, match="expected shape"):
                model.infer(np.zeros((2, 3, 12, 13), np.float32))
            return True

        assert all(pool.map(work, range(120)))


def test_close_while_others_infer(cnn: Converted) -> None:
    """A call that has begun ends well; one that comes later gets an error."""
    for _ in range(10):
        model = pyruntime.load(cnn.path, threads=2)
        expected = model.infer(batch(8))
        outcomes: list[str] = []
        started = threading.Barrier(5)

        def work(
            model: pyruntime.Model = model,
            expected: object = expected,
            outcomes: list[str] = outcomes,
            started: threading.Barrier = started,
        ) -> None:
            started.wait()
            try:
                while True:
                    assert np.array_equal(model.infer(batch(8)), expected)
            except pyruntime.Error as error:
                outcomes.append(str(error))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        time.sleep(0.002)
        model.close()
        for thread in threads:
            thread.join(10)
        assert outcomes == ["the model is closed"] * 4


@pytest.mark.parametrize("inferred_before", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("threads", [1, 3])
def test_fork_then_infer(cnn: Converted, threads: int, inferred_before: bool) -> None:
    """The child has no worker threads; it computes alone, and may close the model and load it again."""
    x = batch(16)
    with pyruntime.load(cnn.path, threads=1) as model:
        expected = model.infer(x)
    with pyruntime.load(cnn.path, threads=threads) as model:
        if inferred_before:
            model.infer(x)

        def child() -> None:
            for _ in range(3):
                np.testing.assert_array_equal(model.infer(x), expected)
            np.testing.assert_array_equal(model.infer(batch(2)), expected_small)
            model.close()
            with pyruntime.load(cnn.path, threads=threads) as again:
                np.testing.assert_array_equal(again.infer(x), expected)

        with pyruntime.load(cnn.path, threads=1) as other:
            expected_small = other.infer(batch(2))
        in_fork(child)
        np.testing.assert_array_equal(model.infer(x), expected)


def test_fork_while_other_threads_infer(cnn: Converted) -> None:
    x = batch(16)
    with pyruntime.load(cnn.path, threads=2) as model:
        expected = model.infer(x)
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                model.infer(x)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                in_fork(lambda: np.testing.assert_array_equal(model.infer(x), expected))
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def _child_of_pool(path: str) -> float:
    with pyruntime.load(path, threads=2) as model:
        return float(np.sum(model.infer(batch(4))))


def test_multiprocessing(cnn: Converted) -> None:
    with pyruntime.load(cnn.path, threads=2) as model:
        expected = float(np.sum(model.infer(batch(4))))
        with multiprocessing.get_context("fork").Pool(2) as pool:
            result = pool.map_async(_child_of_pool, [str(cnn.path)] * 4)
            assert result.get(timeout=FORK_SECONDS) == [expected] * 4


def test_processes_share_the_mapping(cnn: Converted) -> None:
    """The weights are clean pages of the file: nothing private, nothing written, in parent and child."""

    def mapping() -> dict[str, int]:
        lines = Path("/proc/self/smaps").read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if line.endswith(cnn.path.name))
        assert lines[at].split()[1] == "r--s"
        sizes = (line.split() for line in lines[at + 1 : at + 20] if line.endswith("kB"))
        return {name.rstrip(":"): int(size) for name, size, _ in sizes}

    with pyruntime.load(cnn.path, threads=1) as model:
        model.infer(batch(1))

        def child() -> None:
            model.infer(batch(1))
            assert mapping()["Rss"] == mapping()["Shared_Clean"] > 0

        in_fork(child)
        assert mapping()["Private_Dirty"] == mapping()["Shared_Dirty"] == 0


def test_memory_does_not_grow_with_calls(cnn: Converted) -> None:
    """Sessions are used again, plans of old shapes are dropped, results belong to their callers."""
    with pyruntime.load(cnn.path, threads=2) as model, ThreadPoolExecutor(4) as pool:

        def many(calls: int) -> None:
            list(pool.map(lambda i: model.infer(batch(1 + i % 24)), range(calls)))
            gc.collect()

        many(600)
        before = resident_bytes()
        many(1500)
        assert resident_bytes() - before < 3 << 20


def test_reloading_leaks_nothing(cnn: Converted) -> None:
    def cycle(n: int) -> None:
        for _ in range(n):
            with pyruntime.load(cnn.path, threads=3) as model:
                model.infer(batch(2))
            with pytest.raises(pyruntime.Error):
                pyruntime._core.load_bytes(b"not a model" * 40)
        gc.collect()

    def held() -> tuple[int, int, int]:
        maps = Path("/proc/self/maps").read_text().count(cnn.path.name)
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), maps

    cycle(20)
    counts, memory = held(), resident_bytes()
    cycle(150)
    assert held() == counts
    assert resident_bytes() - memory < 3 << 20


def test_a_waiting_thread_runs_during_inference(cnn: Converted) -> None:
    """Inference holds no lock of Python's: a loop of plain Python goes on while a single call lasts."""
    x = np.tile(batch(16), (256, 1, 1, 1))
    calls = steps = most = 0  # steps of a call
    deadline = time.monotonic() + 30  # a busy machine may let the loop wait through some calls

    def work() -> None:
        nonlocal calls
        while most < 5 and time.monotonic() < deadline:
            model.infer(x)
            calls += 1

    with pyruntime.load(cnn.path, threads=1) as model:
        thread = threading.Thread(target=work)
        thread.start()
        call = calls
        while thread.is_alive():
            time.sleep(0.0005)
            steps = steps + 1 if calls == call else 1
            call, most = calls, max(most, steps)
        thread.join()
    assert most >= 5
