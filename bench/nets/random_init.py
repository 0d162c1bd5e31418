"""Random weights with which a net of any depth keeps its activations in a healthy range."""

import math
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def randomize(net: nn.Module, example: Tensor, seed: int = 0) -> nn.Module:
    """Fills `net` in place and returns it, in eval mode.

    Convolutions and linear layers are drawn as He et al. (2015) do, batch norms have scales and shifts away
    from 1 and 0, and their running statistics are those of the activations that `example` gives rise to, so
    that folding them matters and every layer sees values of order 1.
    """
    generator = torch.Generator().manual_seed(seed)
    hooks = []
    for module in net.eval().modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0, math.sqrt(2 / fan_in), generator=generator)
            if module.bias is not None:
                module.bias.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(0, 0.2, generator=generator)
            hooks.append(module.register_forward_pre_hook(_set_statistics))
    net(example)
    for hook in hooks:
        hook.remove()
    return net


def _set_statistics(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Of the input, just before it is normalized by them."""
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
    norm.running_mean.copy_(mean)
    # A channel that hardly varies in a small example must not become an amplifier of everything else.
    norm.running_var.copy_((variance + variance.mean()) / 2)
