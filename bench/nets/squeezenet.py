"""SqueezeNet 1.0 and 1.1 (Iandola et al. 2016)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Fire(nn.Module):
    """Squeeze to few channels, expand by 1x1 and 3x3 convolutions side by side (Iandola et al. 2016)."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze1x1(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """The eight fire modules of both versions between their first and last convolution."""

    def __init__(self, conv1: nn.Conv2d, conv10: nn.Conv2d) -> None:
        super().__init__()
        self.conv1 = conv1
        self.fire2 = Fire(conv1.out_channels, 16, 64)
        self.fire3 = Fire(128, 16, 64)
        self.fire4 = Fire(128, 32, 128)
        self.fire5 = Fire(256, 32, 128)
        self.fire6 = Fire(256, 48, 192)
        self.fire7 = Fire(384, 48, 192)
        self.fire8 = Fire(384, 64, 256)
        self.fire9 = Fire(512, 64, 256)
        self.conv10 = conv10


class SqueezeNetV1_0(SqueezeNet):
    """SqueezeNet v1.0 as in Caffe, 1,248,424 parameters. Input [N, 3, 227, 227], output logits [N, 1000]."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 96, 7, stride=2), nn.Conv2d(512, 1000, 1, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 3, 2, ceil_mode=True)
        x = self.fire4(self.fire3(self.fire2(x)))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = self.fire8(self.fire7(self.fire6(self.fire5(x))))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        return F.relu(self.conv10(self.fire9(x))).mean((2, 3))


class SqueezeNetV1_1(SqueezeNet):
    """SqueezeNet v1.1, 1,235,496 parameters. Input [N, 3, H, W], output logits [N, 1000]."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 64, 3, stride=2), nn.Conv2d(512, 1000, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.fire3(self.fire2(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.fire5(self.fire4(x)), 3, 2, ceil_mode=True)
        x = self.fire9(self.fire8(self.fire7(self.fire6(x))))
        return F.relu(self.conv10(x)).mean((2, 3))
