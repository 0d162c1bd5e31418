"""Which layers a compression step acts on, and what each of them is told."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

T = TypeVar("T")

WEIGHTED = (nn.Linear, nn.Conv2d)


def weighted_layers(
    module: nn.Module,
    names: Iterable[str] | None = None,
    kinds: tuple[type[nn.Module], ...] = WEIGHTED,
) -> dict[str, nn.Module]:
    """The linear and conv2d layers (or those of `kinds`) by name, all of them or those in `names`.

    Raises ValueError if a name is not such a layer, if there is none at all, or if two layers are tied to one
    weight.
    """
    layers: dict[str, nn.Module] = {
        name: layer for name, layer in module.named_modules() if isinstance(layer, kinds)
    }
    what = "linear or conv2d" if kinds is WEIGHTED else ", ".join(kind.__name__ for kind in kinds)
    if not layers:
        raise ValueError(f"{type(module).__name__} has no {what} layer to compress")
    if names is not None:
        wanted = list(names)
        for name in wanted:
            if name not in layers:
                raise ValueError(f"'{name}' is not a {what} layer; there are: {', '.join(layers)}")
        layers = {name: layer for name, layer in layers.items() if name in wanted}

    owners: dict[Tensor, str] = {}
    for name, layer in layers.items():
        for parameter_name, parameter in layer.named_parameters():
            if parameter_name == "bias":
                continue
            owner = owners.setdefault(parameter, name)
            if owner != name:
                raise ValueError(
                    f"layers '{owner}' and '{name}' are tied to one weight, which cannot be compressed "
                    f"twice: use one module in both places, or leave one of them out of `layers`"
                )
    return layers


def per_layer(
    what: str, value: T | Mapping[str, T], layers: Iterable[str], check: Callable[[T], str | None]
) -> dict[str, T]:
    """`value` for each layer: the same for all, or one per name.

    `check` returns what is wrong with a value, or None. Raises ValueError naming `what` and the layer.
    """
    values = dict(value) if isinstance(value, Mapping) else {name: value for name in layers}
    for name, one in values.items():
        problem = check(one)
        if problem:
            raise ValueError(f"{what} of layer '{name}' is {one!r}: {problem}")
    return values


def weight_of(layer: nn.Module) -> Tensor:
    """The weight the layer computes with, after its parametrizations."""
    with torch.no_grad():
        return cast(Tensor, layer.weight).detach()


def last_parametrization(layer: nn.Module) -> nn.Module | None:
    """The parametrization of the layer's weight that has the last word, if there is one."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    parametrizations = cast(nn.ModuleDict, layer.parametrizations)
    return cast(nn.ModuleList, parametrizations["weight"])[-1]


def replace_parametrizations(layer: nn.Module, parametrization: nn.Module) -> None:
    """Give the layer's weight, as it is now, this one parametrization."""
    if not parametrize.is_parametrized(layer, "weight"):
        parametrize.register_parametrization(layer, "weight", parametrization)
        return
    # Not parametrize.remove_parametrizations: it takes the property `weight` from the layer's class, which
    # copies made by deepcopy share, and so breaks them.
    present = cast(nn.ModuleDict, layer.parametrizations)
    original = getattr(present["weight"], "original", None)
    weight = weight_of(layer).clone()
    if original is None:  # several tensors, as weight_norm has
        original = nn.Parameter(weight)
    else:
        original.data = weight
    present["weight"] = parametrize.ParametrizationList([parametrization], original)
