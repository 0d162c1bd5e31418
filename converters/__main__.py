"""`python -m converters MODEL -o out.pyrt`: converts an exported archive or a module with its weights."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING

from converters.errors import ConvertError

if TYPE_CHECKING:
    import torch

    from converters.report import Report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m converters", description=__doc__)
    parser.add_argument("model", help="MODEL.pt2 (torch.export.save), or package.module:factory")
    parser.add_argument("-o", "--output", required=True, help="the .pyrt file to write")
    parser.add_argument("--prefer", choices=("size", "speed", "auto"), default="auto")
    parser.add_argument(
        "--weights", help="state dict for the factory's module: .safetensors, or .pt (weights only)"
    )
    parser.add_argument(
        "--input", action="append", help="shape of an input, 1x3x224x224; once per input, in order"
    )
    options = parser.parse_args(arguments)
    try:
        report = _convert(options)
    except (ConvertError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report)
    return 0


def _convert(options: argparse.Namespace) -> Report:
    import torch

    from converters.pipeline import convert, convert_exported

    if options.model.endswith(".pt2"):
        if options.weights or options.input:
            raise ConvertError(
                "--weights and --input belong to package.module:factory; a .pt2 file has both inside"
            )
        try:
            with open(options.model, "rb"):  # a missing file is an OSError
                logging.disable(logging.WARNING)  # torch logs a traceback before it raises
                program = torch.export.load(options.model)
        except OSError:
            raise
        except Exception as error:
            raise ConvertError(
                f"{options.model} cannot be read as a torch.export archive: {error}"
            ) from error
        return convert_exported(program, options.output, options.prefer)
    if not options.input:
        raise ConvertError("give the shape of each input, for example --input 1x3x224x224")
    examples = tuple(_example(shape) for shape in options.input)
    module = _build(options.model)
    if options.weights:
        _load(module, options.weights)
    return convert(module, examples, options.output, prefer=options.prefer)


def _build(spec: str) -> torch.nn.Module:
    import torch

    package, separator, name = spec.partition(":")
    if not separator:
        raise ConvertError(f"{spec!r} is neither a .pt2 file nor package.module:factory")
    sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError) as error:
        raise ConvertError(f"cannot import {spec!r}: {error}") from error
    module = factory() if callable(factory) and not isinstance(factory, torch.nn.Module) else factory
    if not isinstance(module, torch.nn.Module):
        raise ConvertError(f"{spec!r} made a {type(module).__name__}, not a torch.nn.Module")
    return module


def _load(module: torch.nn.Module, path: str) -> None:
    import torch

    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except OSError:
        raise
    except Exception as error:
        raise ConvertError(f"{path} does not hold the weights of this module: {error}") from error


def _example(shape: str) -> torch.Tensor:
    import torch

    try:
        return torch.rand([int(size) for size in shape.split("x")])
    except ValueError:
        raise ConvertError(f"--input {shape!r} is not a shape like 1x3x224x224") from None


if __name__ == "__main__":
    sys.exit(main())
