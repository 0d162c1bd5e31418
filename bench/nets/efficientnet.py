"""EfficientNet-B0 and B3 (Tan and Le 2019). State dict names are torchvision's."""

import math

from torch import Tensor, nn

from bench.nets.blocks import SqueezeExcite, conv_bn, divisible_by_8

# expansion, kernel, stride of the first block, inputs, outputs, blocks
STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)


class MBConv(nn.Module):
    """1x1 up, depthwise, squeeze-excite, linear 1x1 down."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = inputs * expand
        self.block = nn.Sequential(
            *([conv_bn(inputs, width, 1, activation=nn.SiLU)] if expand != 1 else []),
            conv_bn(width, width, kernel, stride, groups=width, activation=nn.SiLU),
            SqueezeExcite(width, inputs // 4, nn.SiLU, nn.Sigmoid),
            conv_bn(width, outputs, 1, activation=None),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class EfficientNet(nn.Module):
    """Input [N, 3, H, W], output logits [N, 1000]."""

    def __init__(self, width: float, depth: float, dropout: float) -> None:
        super().__init__()
        stem = divisible_by_8(32 * width)
        layers: list[nn.Module] = [conv_bn(3, stem, 3, 2, activation=nn.SiLU)]
        for expand, kernel, stride, stage_inputs, stage_outputs, blocks in STAGES:
            inputs, outputs = divisible_by_8(stage_inputs * width), divisible_by_8(stage_outputs * width)
            stage = [MBConv(inputs, outputs, expand, kernel, stride)]
            stage += [
                MBConv(outputs, outputs, expand, kernel, 1) for _ in range(math.ceil(blocks * depth) - 1)
            ]
            layers.append(nn.Sequential(*stage))
        last = divisible_by_8(320 * width)
        layers.append(conv_bn(last, 4 * last, 1, activation=nn.SiLU))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * last, 1000))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def EfficientNetB0() -> EfficientNet:
    """5,288,548 parameters; 224x224 in the paper."""
    return EfficientNet(1.0, 1.0, 0.2)


def EfficientNetB3() -> EfficientNet:
    """12,233,232 parameters; 300x300 in the paper."""
    return EfficientNet(1.2, 1.4, 0.3)
