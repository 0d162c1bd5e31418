"""MobileNet V1 (Howard et al. 2017), V2 (Sandler et al. 2018) and V3 (Howard et al. 2019).

State dict names of V2 and V3 are torchvision's.
"""

from functools import partial

from torch import Tensor, nn

from bench.nets.blocks import SqueezeExcite, conv_bn, divisible_by_8


class MobileNetV1(nn.Module):
    """Width 1, 4,231,976 parameters. Input [N, 3, H, W], output logits [N, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        layers = [conv_bn(3, 32, 3, 2)]
        inputs = 32
        for outputs, stride in (
            *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
            *((512, 1),) * 5,
            *((1024, 2), (1024, 1)),
        ):
            layers += [conv_bn(inputs, inputs, 3, stride, groups=inputs), conv_bn(inputs, outputs, 1)]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class InvertedResidualV2(nn.Module):
    """1x1 up, 3x3 depthwise, linear 1x1 down."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        width = inputs * expand
        layers: list[nn.Module] = [conv_bn(inputs, width, 1, activation=nn.ReLU6)] if expand != 1 else []
        layers.append(conv_bn(width, width, 3, stride, groups=width, activation=nn.ReLU6))
        layers += [nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Width 1, 3,504,872 parameters. Input [N, 3, H, W], output logits [N, 1000]."""

    # expansion, channels, blocks, stride of the first
    STAGES = (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 32, 3, 2, activation=nn.ReLU6)]
        inputs = 32
        for expand, outputs, blocks, first_stride in self.STAGES:
            for i in range(blocks):
                layers.append(InvertedResidualV2(inputs, outputs, 1 if i else first_stride, expand))
                inputs = outputs
        layers.append(conv_bn(inputs, 1280, 1, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class InvertedResidualV3(nn.Module):
    """1x1 up, depthwise, squeeze-excite or none, linear 1x1 down."""

    def __init__(
        self, inputs: int, kernel: int, width: int, outputs: int, excite: bool, swish: bool, stride: int
    ) -> None:
        super().__init__()
        conv = partial(conv_bn, activation=nn.Hardswish if swish else nn.ReLU, eps=1e-3)
        layers: list[nn.Module] = [conv(inputs, width, 1)] if width != inputs else []
        layers.append(conv(width, width, kernel, stride, groups=width))
        if excite:
            layers.append(SqueezeExcite(width, divisible_by_8(width / 4), nn.ReLU, nn.Hardsigmoid))
        layers.append(conv_bn(width, outputs, 1, activation=None, eps=1e-3))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


# inputs, kernel, width, outputs, squeeze-excite, hardswish, stride
Block = tuple[int, int, int, int, bool, bool, int]
LARGE: tuple[Block, ...] = (
    (16, 3, 16, 16, False, False, 1),
    (16, 3, 64, 24, False, False, 2),
    (24, 3, 72, 24, False, False, 1),
    (24, 5, 72, 40, True, False, 2),
    (40, 5, 120, 40, True, False, 1),
    (40, 5, 120, 40, True, False, 1),
    (40, 3, 240, 80, False, True, 2),
    (80, 3, 200, 80, False, True, 1),
    (80, 3, 184, 80, False, True, 1),
    (80, 3, 184, 80, False, True, 1),
    (80, 3, 480, 112, True, True, 1),
    (112, 3, 672, 112, True, True, 1),
    (112, 5, 672, 160, True, True, 2),
    (160, 5, 960, 160, True, True, 1),
    (160, 5, 960, 160, True, True, 1),
)
SMALL: tuple[Block, ...] = (
    (16, 3, 16, 16, True, False, 2),
    (16, 3, 72, 24, False, False, 2),
    (24, 3, 88, 24, False, False, 1),
    (24, 5, 96, 40, True, True, 2),
    (40, 5, 240, 40, True, True, 1),
    (40, 5, 240, 40, True, True, 1),
    (40, 5, 120, 48, True, True, 1),
    (48, 5, 144, 48, True, True, 1),
    (48, 5, 288, 96, True, True, 2),
    (96, 5, 576, 96, True, True, 1),
    (96, 5, 576, 96, True, True, 1),
)


class MobileNetV3(nn.Module):
    """Input [N, 3, H, W], output logits [N, 1000]."""

    def __init__(self, blocks: tuple[Block, ...], last: int) -> None:
        super().__init__()
        outputs = blocks[-1][3]
        self.features = nn.Sequential(
            conv_bn(3, 16, 3, 2, activation=nn.Hardswish, eps=1e-3),
            *(InvertedResidualV3(*block) for block in blocks),
            conv_bn(outputs, 6 * outputs, 1, activation=nn.Hardswish, eps=1e-3),
        )
        self.classifier = nn.Sequential(
            nn.Linear(6 * outputs, last), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(last, 1000)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def MobileNetV3Large() -> MobileNetV3:
    """5,483,032 parameters."""
    return MobileNetV3(LARGE, 1280)


def MobileNetV3Small() -> MobileNetV3:
    """2,542,856 parameters."""
    return MobileNetV3(SMALL, 1024)
