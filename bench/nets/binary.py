"""Binary networks for ImageNet in the styles of Bi-Real Net 18 (Liu et al. 2018) and QuickNet (Bannink et al.
2021); with `bits` False the same nets in float: relu for sign, plain convolutions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from converters.compress import BinaryConv2d, Sign


def conv(inputs: int, outputs: int, stride: int, bits: bool, pad_value: int) -> nn.Module:
    """3x3, on the signs of its input or on its relu."""
    if bits:
        sign = Sign("approx")
        return BinaryConv2d(inputs, outputs, 3, stride, 1, bias=False, sign=sign, pad_value=pad_value)
    return nn.Sequential(nn.ReLU(), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False))


class BiRealBlock(nn.Module):
    """One convolution with batch norm around a shortcut in float, which a mean pool and a 1x1 shrink."""

    def __init__(self, inputs: int, outputs: int, stride: int, bits: bool) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, stride, bits, 0)
        self.bn = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride != 1:
            one = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut = nn.Sequential(nn.AvgPool2d(2), one, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)) + (x if self.shortcut is None else self.shortcut(x))


class BiReal18(nn.Module):
    """Input [N, 3, H, W], output logits [N, 1000]."""

    def __init__(self, bits: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.MaxPool2d(3, 2, 1)
        )
        blocks: list[nn.Module] = []
        for inputs, outputs in ((64, 64), (64, 128), (128, 256), (256, 512)):
            blocks.append(BiRealBlock(inputs, outputs, 1 if inputs == outputs else 2, bits))
            blocks += [BiRealBlock(outputs, outputs, 1, bits) for _ in range(3)]
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


class QuickBlock(nn.Module):
    """Convolution padded with +1, relu, batch norm, shortcut."""

    def __init__(self, channels: int, bits: bool) -> None:
        super().__init__()
        self.conv, self.bn = conv(channels, channels, 1, bits, 1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(F.relu(self.conv(x))) + x


class QuickNet(nn.Module):
    """Input [N, 3, H, W], output logits [N, 1000]."""

    def __init__(self, bits: bool = True) -> None:
        super().__init__()
        grouped = nn.Conv2d(16, 64, 3, 2, 1, groups=4, bias=False)
        stem: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        stem += [grouped, nn.BatchNorm2d(64)]
        body: list[nn.Module] = []
        for inputs, channels in ((None, 64), (64, 128), (128, 256), (256, 512)):
            if inputs is not None:  # blur pool, then a 1x1 to more channels
                blur = nn.Conv2d(inputs, inputs, 3, 2, 1, groups=inputs, bias=False)
                body += [
                    nn.ReLU(),
                    blur,
                    nn.Conv2d(inputs, channels, 1, bias=False),
                    nn.BatchNorm2d(channels),
                ]
            body += [QuickBlock(channels, bits) for _ in range(4)]
        self.body = nn.Sequential(*stem, *body, nn.ReLU())
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))
