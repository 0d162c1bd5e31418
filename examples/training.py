"""Training of a small classifier and its Deep Compression; shared by the demo and the bench."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from converters.compress import deep_compression


@dataclass(frozen=True)
class Recipe:
    """Minibatches (of `batch` images) and learning rate of each stage, and how far to compress."""

    sparsity: Mapping[str, float]
    bits: Mapping[str, int]
    train: int
    prune: int
    finetune: int
    share: int
    prune_calls: int = 20
    batch: int = 64
    lr: float = 1e-3
    share_lr: float = 3e-4


def train_dense(net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> None:
    _fit(net, x, y, recipe, recipe.train, recipe.lr, 0.0, "train")


def compress(net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> None:
    def train(net: nn.Module, stage: str, step: int) -> None:
        if stage == "prune":
            _fit(net, x, y, recipe, recipe.prune // recipe.prune_calls, recipe.lr, recipe.lr, stage)
        elif stage == "finetune":
            _fit(net, x, y, recipe, recipe.finetune, recipe.lr, 0.0, stage)
        else:
            _fit(net, x, y, recipe, recipe.share, recipe.share_lr, 0.0, stage)

    deep_compression(
        net,
        train,
        sparsity=recipe.sparsity,
        bits=recipe.bits,
        prune_steps=recipe.prune_calls,
        finetune_steps=1,
        share_steps=1,
    )


def predict(net: nn.Module, x: Tensor) -> Tensor:
    """Logits [N, classes]."""
    net.eval()
    with torch.no_grad():
        return torch.cat([net(part) for part in x.split(1000)])


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Percent."""
    return 100.0 * (logits.argmax(1) == y).double().mean().item()


def _fit(
    net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, steps: int, lr: float, last_lr: float, what: str
) -> None:
    """`steps` minibatches of Adam with the learning rate falling from `lr` to `last_lr` as a cosine."""
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, last_lr)
    order = torch.empty(0, dtype=torch.int64)
    for _ in tqdm(range(steps), desc=what, unit="batch", leave=False, disable=None):
        if len(order) < recipe.batch:
            order = torch.randperm(len(x))
        now, order = order[: recipe.batch], order[recipe.batch :]
        optimizer.zero_grad()
        F.cross_entropy(net(_jitter(x[now])), y[now]).backward()
        optimizer.step()
        schedule.step()


def _jitter(images: Tensor) -> Tensor:
    """Rotate by up to 10 degrees, scale by up to 10 %, shift by up to 2 pixels, each image its own way."""
    n = len(images)
    angle = (torch.rand(n) * 2 - 1) * torch.pi / 18
    scale = 1 + (torch.rand(n) * 2 - 1) * 0.1
    shift = (torch.rand(n, 2) * 2 - 1) * 2 / 14
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
