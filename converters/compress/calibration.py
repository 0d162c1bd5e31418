"""Calibration inputs: what a module is shown so that a compression step can look at its activations."""

from collections.abc import Iterable, Sequence

from torch import Tensor

Batch = Tensor | Sequence[Tensor]


def batches_of(calibration: Iterable[Batch]) -> list[tuple[Tensor, ...]]:
    """Each batch as the arguments of the module. Raises ValueError if there is none or one has no tensors."""
    batches = [(b,) if isinstance(b, Tensor) else tuple(b) for b in calibration]
    for batch in batches:
        if wrong := [x for x in batch if not isinstance(x, Tensor)]:
            raise ValueError(
                "a calibration batch is a tensor, or a tuple of one tensor per argument of the module; found "
                f"{type(wrong[0]).__name__} in one (of a dict, give its values in the order of the arguments)"
            )
    if not batches:
        raise ValueError("calibration has no batch: give some inputs, a few hundred images or sentences")
    return batches
