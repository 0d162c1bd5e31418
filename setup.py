"""Builds `pyruntime._core` with the one CMake build in csrc. Everything else is in pyproject.toml."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def check_toolchain() -> None:
    """Ends with one sentence if the machine cannot compile the extension, before CMake writes pages."""
    compilers = [os.environ["CXX"].split()[0]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    if not any(shutil.which(name) for name in compilers):
        sys.exit(
            f"pyruntime needs a C++17 compiler and found none ({', '.join(compilers)}): install one "
            "(Debian/Ubuntu: apt install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install) "
            "or point CXX at yours."
        )
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").exists():
        sys.exit(
            f"pyruntime needs the headers of this Python and {include}/Python.h is missing: install them "
            "(Debian/Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)."
        )


class CMakeBuild(build_ext):
    """Runs CMake in build/, which stays, so that a second build compiles only what changed."""

    def build_extension(self, ext: Extension) -> None:
        check_toolchain()
        # From PyPI (build-system.requires), so nothing but the compiler has to be on the machine.
        import cmake
        import ninja
        import pybind11

        tool = Path(cmake.CMAKE_BIN_DIR) / "cmake"
        # The tests link the C library from the same objects (tests/conftest.py).
        build_dir = ROOT / "build" / f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
        output_dir = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        configure = [
            tool,
            *("-S", ROOT / "csrc", "-B", build_dir, "-G", "Ninja"),
            f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR) / 'ninja'}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DPYRUNTIME_PYTHON={output_dir}",
        ]
        subprocess.run(configure, check=True)
        subprocess.run([tool, "--build", build_dir, "--target", "_core"], check=True)


setup(ext_modules=[Extension("pyruntime._core", sources=[])], cmdclass={"build_ext": CMakeBuild})
