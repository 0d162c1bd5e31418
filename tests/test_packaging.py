"""What a user gets: sdist, wheel, a runtime that needs numpy only, one sentence without a compiler."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, Converted

pytestmark = pytest.mark.slow


def call(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files git would hand to a newcomer."""
    folder = tmp_path_factory.mktemp("source")
    files = call("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.split("\n")
    archive = folder / "source.tar"
    with tarfile.open(archive, "w") as tar:
        for name in filter(None, files):
            if (ROOT / name).exists():
                tar.add(ROOT / name, name)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "pyruntime", filter="data")
    return folder / "pyruntime"


@pytest.fixture(scope="module")
def dist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    done = call(sys.executable, "-m", "build", "-o", folder, source)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


def new_environment(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def test_contents(dist: Path) -> None:
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"pyruntime", "converters"}
    for name in ("pyruntime/py.typed", "pyruntime/_core.pyi", "converters/costs.json"):
        assert name in names
    with tarfile.open(sdist) as tar:
        sources = tar.getnames()
    for name in ("csrc/CMakeLists.txt", "csrc/pyruntime.h", "LICENSE", "docs/format.md", "tests/conftest.py"):
        assert any(source.endswith(name) for source in sources), name


def test_wheel_needs_numpy_only(dist: Path, mlp: Converted, tmp_path: Path) -> None:
    python = new_environment(tmp_path / "env")
    (wheel,) = dist.glob("*.whl")
    done = call(python, "-m", "pip", "install", wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    packages = call(python, "-m", "pip", "list", "--format=freeze").stdout.split()
    assert {p.split("==")[0] for p in packages} <= {"numpy", "pyruntime", "pip", "setuptools"}
    done = call(python, "-m", "pyruntime", "run", mlp.path, "--random", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = call(python, "-m", "pyruntime", "inspect", mlp.path, cwd=tmp_path)
    assert done.returncode == 1 and "pip install 'pyruntime[cli]'" in done.stderr


@pytest.mark.parametrize("editable", [(), ("-e",)], ids=["plain", "editable"])
def test_pip_install_from_source(source: Path, tmp_path: Path, editable: tuple[str, ...]) -> None:
    python = new_environment(tmp_path / "env")
    done = call(python, "-m", "pip", "install", *editable, source)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    done = call(python, "-c", "import pyruntime; print(pyruntime.__version__)", cwd=tmp_path)
    assert done.stdout.strip(), done.stderr


def test_missing_compiler_is_one_sentence(source: Path) -> None:
    environment = os.environ | {"CXX": "no-such-compiler"}
    done = call(sys.executable, "setup.py", "-q", "build_ext", cwd=source, env=environment)
    assert done.returncode == 1
    (sentence,) = done.stderr.strip().splitlines()
    assert "C++17 compiler" in sentence and "apt install g++" in sentence
