"""Fixtures shared by all tests: the C++ build, shared data, and small converted models."""

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cmake
import ninja
import numpy as np
import numpy.typing as npt
import pytest
import torch

import converters

# Tensors here are small: more threads only make torch wait, for minutes on a busy machine.
torch.set_num_threads(1)

# Encodings are chosen by the shipped costs, whatever `pyruntime tune` has measured on this machine.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="pyruntime-tests-")

ROOT = Path(__file__).resolve().parent.parent


LIBRARIES = ("pyruntime_shared", "pyruntime_static")
PROGRAMS = ("kernel_test", "load_file", "avxvnni")  # of tests/cpp


def build_cpp(name: str, targets: Sequence[str], *options: str) -> Path:
    """Builds targets of csrc/CMakeLists.txt in build/`name`, incrementally; returns the folder."""
    tool = Path(cmake.CMAKE_BIN_DIR) / "cmake"
    folder = ROOT / "build" / name
    make_program = f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR) / 'ninja'}"
    configure = [tool, "-S", ROOT / "csrc", "-B", folder, "-G", "Ninja", make_program, *options]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (configure, [tool, "--build", folder, "--target", *targets]):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                pytest.fail(f"the C++ build failed:\n{done.stdout[-8000:]}", pytrace=False)
    return folder


def build_for_arm() -> Path:
    """Libraries and programs for 64-bit ARM boards; skips without a cross compiler."""
    if shutil.which("aarch64-linux-gnu-g++") is None:
        pytest.skip("no aarch64-linux-gnu-g++ (Debian: g++-aarch64-linux-gnu)")
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'csrc' / 'aarch64.cmake'}"
    return build_cpp("aarch64", (*LIBRARIES, *PROGRAMS), "-DPYRUNTIME_TESTS=ON", toolchain)


def run_bench(script: str, *arguments: object) -> str:
    """What a script of bench/ prints; fails with its errors if it does."""
    command = [sys.executable, ROOT / "bench" / script, *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"bench/{script} failed:\n{done.stderr[-8000:]}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="session")
def cpp_build() -> Path:
    """Folder of libpyruntime.so and libpyruntime.a, from the objects of the Python module (setup.py)."""
    return build_cpp(f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}", LIBRARIES)


@pytest.fixture(scope="session")
def cpp_build_sanitized() -> Path:
    """Folder of the programs, built with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return build_cpp("cpp-sanitized", PROGRAMS, "-DPYRUNTIME_TESTS=ON", "-DPYRUNTIME_SANITIZE=ON")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real nets and data, in PYRUNTIME_DATA (default ../shared/data); skips without them."""
    folder = Path(os.environ.get("PYRUNTIME_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data in {folder}: set PYRUNTIME_DATA")
    return folder


@dataclass(frozen=True)
class Converted:
    """A torch module, the file made from it, and an input with torch's output for it."""

    module: torch.nn.Module
    path: Path
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.float32]


def convert_module(module: torch.nn.Module, x: torch.Tensor, path: Path) -> Converted:
    module.eval()
    converters.convert(module, (x,), path, prefer="size", progress=False)
    with torch.no_grad():
        return Converted(module, path, x.numpy(), module(x).numpy())


@pytest.fixture(scope="session")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """[batch, 32] -> [batch, 10], the first layer pruned to 10 % and clustered to 15 values."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    weight = module[0].weight.data
    weight[torch.rand(weight.shape) < 0.9] = 0
    weight.copy_((weight * 40).round().clamp(-7, 7) / 40)
    return convert_module(module, torch.randn(6, 32), tmp_path_factory.mktemp("mlp") / "mlp.pyrt")


@pytest.fixture(scope="session")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """[batch, 3, 12, 12] -> [batch, 5]."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 36, 5),
    )
    return convert_module(module, torch.randn(3, 3, 12, 12), tmp_path_factory.mktemp("cnn") / "cnn.pyrt")
