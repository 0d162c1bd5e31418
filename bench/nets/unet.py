"""U-Net (Ronneberger et al. 2015) with padded convolutions, batch norm and bilinear upsampling."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _double_conv(inputs: int, outputs: int, middle: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 3, padding=1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.Conv2d(middle, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Base width 64, 17,262,977 parameters for one class.

    Input [N, 3, H, W] with H and W multiples of 16, output logits [N, classes, H, W].
    """

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.inc = _double_conv(3, 64, 64)
        self.down = nn.ModuleList(
            _double_conv(i, o, o) for i, o in ((64, 128), (128, 256), (256, 512), (512, 512))
        )
        self.up = nn.ModuleList(
            _double_conv(i, o, i // 2) for i, o in ((1024, 256), (512, 128), (256, 64), (128, 64))
        )
        self.outc = nn.Conv2d(64, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inc(x)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(F.max_pool2d(x, 2))
        for up in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = up(torch.cat((skips.pop(), x), 1))
        return self.outc(x)
