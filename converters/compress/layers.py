"""Which weights a compression step acts on, where they are, and what each of them is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

T = TypeVar("T")

PRODUCTS = (nn.Linear, nn.Conv2d)
RECURRENT = (nn.LSTM, nn.GRU)
WEIGHTED = (*PRODUCTS, *RECURRENT)
SHARING = (*PRODUCTS, nn.Embedding, *RECURRENT)  # whose weights can be entries of a codebook


@dataclass(frozen=True)
class Slot:
    """A weight in its place: the parameter `name` of `layer`.

    tied: the other places of the same parameter. They get every parametrization as well, so that it stays one
    weight, as an embedding table and the output layer tied to it are.
    """

    layer: nn.Module
    name: str
    tied: tuple[Slot, ...] = ()

    @property
    def value(self) -> Tensor:
        """What the layer computes with, after its parametrizations; apart from autograd."""
        with torch.no_grad():
            return cast(Tensor, getattr(self.layer, self.name)).detach()

    @property
    def chain(self) -> nn.ModuleList | None:
        """The parametrizations, in the order they are applied; None if there are none."""
        if not parametrize.is_parametrized(self.layer, self.name):
            return None
        return cast(nn.ModuleList, cast(nn.ModuleDict, self.layer.parametrizations)[self.name])

    @property
    def last(self) -> nn.Module | None:
        """The parametrization that has the last word, if there is one."""
        return None if self.chain is None else self.chain[-1]

    def parameters(self) -> list[nn.Parameter]:
        """What trains: the weight itself, or the parameters of its parametrizations."""
        inner = f"parametrizations.{self.name}."
        return [p for name, p in self.layer.named_parameters() if name == self.name or name.startswith(inner)]

    def assign(self, value: Tensor) -> None:
        """Writes the weight that the parametrizations, if there are any, start from."""
        chain = self.chain
        original = getattr(self.layer, self.name) if chain is None else chain.original
        cast(Tensor, original).data.copy_(value)

    def add(self, parametrization: nn.Module, unsafe: bool = False) -> None:
        """One more parametrization, after those there are. unsafe: without torch's check that it keeps the
        shape.
        """
        parametrization.train(self.layer.training)
        parametrize.register_parametrization(self.layer, self.name, parametrization, unsafe=unsafe)
        # Torch keeps the parameter; a gradient from before is of another weight, mostly of another shape.
        for p in self.parameters():
            p.grad = None
        if isinstance(self.layer, RECURRENT) and _forget not in self.layer._forward_hooks.values():
            self.layer.register_forward_hook(_forget)
        self._share_chain()

    def _share_chain(self) -> None:
        """Makes the parametrizations those of the tied places, too: not copies, the same modules."""
        for other in self.tied:
            if other.chain is None:  # torch makes the property that computes the weight
                parametrize.register_parametrization(other.layer, other.name, nn.Identity(), unsafe=True)
            cast(nn.ModuleDict, other.layer.parametrizations)[other.name] = cast(nn.ModuleList, self.chain)

    def replace(self, parametrization: nn.Module) -> None:
        """This parametrization alone, for the weight as it is now."""
        if self.chain is None:
            self.add(parametrization)
            return
        # Not parametrize.remove_parametrizations: it takes the property from the layer's class, which copies
        # made by deepcopy share, and so breaks them.
        original = getattr(self.chain, "original", None)
        weight = self.value.clone()
        if original is None:  # several tensors, as weight_norm has
            original = nn.Parameter(weight)
        else:
            original.data, original.grad = weight, None
        present = cast(nn.ModuleDict, self.layer.parametrizations)
        present[self.name] = parametrize.ParametrizationList([parametrization], original)
        self._share_chain()


def _forget(layer: nn.Module, *_: object) -> None:
    """Recurrent layers keep the weights of their last pass, which deepcopy refuses if they were computed."""
    kept, seen = (
        cast("list[Tensor | None]", layer._flat_weights),
        cast("list[object]", layer._flat_weight_refs),
    )
    for i, weight in enumerate(kept):
        if weight is not None and not weight.is_leaf:
            kept[i], seen[i] = None, _nothing  # is no weight, so the next pass collects them anew


def _nothing() -> None:
    """A weak reference to what is no more."""


def weights_of(
    module: nn.Module,
    names: Iterable[str] | None = None,
    kinds: tuple[type[nn.Module], ...] = WEIGHTED,
) -> dict[str, Slot]:
    """The weights of the layers of `kinds` by name, all of them or those in `names`.

    A weight has the name of its layer, those of recurrent layers their own: "encoder.weight_hh_l0". One that
    several layers are tied to is there once, by the name that `names` has or else the first.
    Raises ValueError if a name is not there, if there is none at all, or if two names are of one weight.
    """
    everything: dict[str, Slot] = {}
    for name, layer in module.named_modules():
        if not isinstance(layer, SHARING):
            continue
        if not isinstance(layer, RECURRENT):
            everything[name] = Slot(layer, "weight")
            continue
        for part in _recurrent_weights(layer):
            everything[f"{name}.{part}" if name else part] = Slot(layer, part)
    found = {name: slot for name, slot in everything.items() if isinstance(slot.layer, kinds)}
    *first, last = (kind.__name__ if kind in RECURRENT else kind.__name__.lower() for kind in kinds)
    what = f"{', '.join(first)} or {last}" if first else last
    if not found:
        raise ValueError(f"{type(module).__name__} has no {what} layer to compress")
    if names is not None:
        wanted = list(names)
        for name in wanted:
            if name not in found:
                raise ValueError(f"'{name}' is not a {what} layer; there are: {', '.join(found)}")
        found = {name: slot for name, slot in found.items() if name in wanted}

    places: dict[Tensor, list[str]] = {}
    for name, slot in everything.items():
        for parameter in slot.parameters():
            places.setdefault(parameter, []).append(name)
    result: dict[str, Slot] = {}
    owners: dict[Tensor, str] = {}
    for name, slot in found.items():
        parameters = slot.parameters()
        if parameters and parameters[0] in owners:
            if names is not None:
                raise ValueError(
                    f"layers '{owners[parameters[0]]}' and '{name}' are tied to one weight: name one of "
                    "them, the other one follows"
                )
            continue
        owners |= dict.fromkeys(parameters, name)
        others = dict.fromkeys(other for p in parameters for other in places[p] if other != name)
        result[name] = Slot(slot.layer, slot.name, tuple(everything[other] for other in others))
    return result


def _recurrent_weights(layer: nn.LSTM | nn.GRU) -> list[str]:
    directions = ("", "_reverse")[: 1 + layer.bidirectional]
    ends = [f"l{number}{direction}" for number in range(layer.num_layers) for direction in directions]
    return [f"weight_{kind}_{end}" for end in ends for kind in ("ih", "hh")]


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
