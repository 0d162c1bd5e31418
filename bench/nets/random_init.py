"""Random weights with which a net of any depth keeps its activations in a healthy range."""

import math

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
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0, math.sqrt(2 / fan_in), generator=generator)
            if module.bias is not None:
                module.bias.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(0, 0.2, generator=generator)
            module.momentum = 1.0  # the statistics of this one batch
    net.train()(example)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return net.eval()
