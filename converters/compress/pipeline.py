"""Deep Compression: prune, share weights, train what is shared; `convert` does the Huffman coding.

Han, Mao, Dally, ICLR 2016, figure 1.
"""

from collections.abc import Callable, Mapping
from typing import Literal, cast

from torch import nn
from tqdm import tqdm

from converters.compress.cluster import Init, centroids_by_layer, cluster
from converters.compress.prune import Scope, cubic_sparsity, prune, sparsity_by_layer

Stage = Literal["prune", "finetune", "share"]


def deep_compression(
    module: nn.Module,
    train: Callable[[nn.Module, Stage, int], object],
    sparsity: float | Mapping[str, float],
    bits: int | Mapping[str, int],
    scope: Scope = "layer",
    prune_steps: int = 10,
    finetune_steps: int = 2,
    share_steps: int = 2,
    init: Init = "linear",
    progress: bool = True,
) -> nn.Module:
    """Prune `module` gradually, cluster its weights and train the centroids, in place.

    train(module, stage, step): your own training, say an epoch each time. It is called

        "prune"     for step 0 .. prune_steps-1, each time after the masks have grown along the cubic
                    schedule; at the last step the full sparsity is reached
        "finetune"  for step 0 .. finetune_steps-1, with the masks as they are
        "share"     for step 0 .. share_steps-1, after the clustering: what trains now are the centroids (and
                    biases, batch norms...). Make a new optimizer at step 0, best with a learning rate some 10
                    times smaller.

    sparsity, scope: as for `prune`. bits: as for `cluster`. init: as for `cluster`.

    Returns `module`. Raises ValueError naming the layer; bad arguments are found before the first training
    step.
    """
    if prune_steps < 1 or finetune_steps < 0 or share_steps < 0:
        raise ValueError("prune_steps must be at least 1, finetune_steps and share_steps at least 0")
    fractions = sparsity_by_layer(module, sparsity, scope)
    centroids = centroids_by_layer(module, bits)

    stages: dict[Stage, int] = {"prune": prune_steps, "finetune": finetune_steps, "share": share_steps}
    with tqdm(
        total=sum(stages.values()), desc="deep compression", unit="step", disable=None if progress else True
    ) as bar:
        for stage, steps in stages.items():
            bar.set_postfix_str(stage)
            if stage == "share":
                cluster(module, k=centroids, init=init, progress=False)
            for step in range(steps):
                if stage == "prune":
                    done = cubic_sparsity(step + 1, prune_steps, 1.0)
                    now = {name: done * fraction for name, fraction in fractions.items()}
                    prune(module, now if scope == "layer" else done * cast(float, sparsity), scope)
                train(module, stage, step)
                bar.update()
    return module
