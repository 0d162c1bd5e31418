"""One tiny module per supported op and form, with example inputs: for the tests of converter and runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize


class Case(NamedTuple):
    """factory makes the module, inputs its example inputs (f32 or i64, batch first)."""

    name: str
    factory: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Tensor, ...]]


class Function(nn.Module):
    """A module that is one function of its inputs."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x: Tensor) -> object:
        return self.function(*x)


class WithBuffer(nn.Module):
    """function(x, c) with a constant c."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], constant: Tensor) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("c", constant)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.c)


def random(
    *shapes: tuple[int, ...], scale: float = 1.0, positive: bool = False
) -> Callable[[], tuple[Tensor, ...]]:
    def make() -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(1)
        tensors = tuple(scale * torch.randn(shape, generator=generator) for shape in shapes)
        return tuple(t.abs() + 0.1 for t in tensors) if positive else tensors

    return make


def batch_norm(module: nn.Module) -> nn.Module:
    """Running statistics and weights as after training."""
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            assert m.running_mean is not None and m.running_var is not None
            nn.init.normal_(m.running_mean)
            nn.init.uniform_(m.running_var, 0.3, 2.0)
            if m.affine:
                nn.init.uniform_(m.weight, -1.5, 1.5)
                nn.init.normal_(m.bias)
    return module


IMAGE = random((2, 6, 9, 11))
TOKENS = random((2, 5, 12))
CASES: list[Case] = []


def case(
    name: str, factory: Callable[[], nn.Module], inputs: Callable[[], tuple[Tensor, ...]] = IMAGE
) -> None:
    CASES.append(Case(name, factory, inputs))


def function(name: str, f: Callable[..., object], inputs: Callable[[], tuple[Tensor, ...]] = IMAGE) -> None:
    case(name, lambda: Function(f), inputs)


def with_affine(norm: nn.GroupNorm | nn.InstanceNorm2d) -> nn.Module:
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def counted(x: Tensor) -> Tensor:
    """A plane of constants that is written in place, as the windows of a shifted attention are numbered."""
    plane = x.new_zeros((x.shape[2], x.shape[3]))
    plane[:2, 1:] = 1
    plane[2:, -3:] = 2
    return plane


# group norm and instance norm
case("group_norm", lambda: with_affine(nn.GroupNorm(3, 6)))
case("group_norm_tokens", lambda: nn.Sequential(nn.Conv1d(5, 8, 1), nn.GroupNorm(1, 8, affine=False)), TOKENS)
case("group_norm_vector", lambda: with_affine(nn.GroupNorm(2, 12)), random((3, 12)))
case("group_norm_rank3", lambda: with_affine(nn.GroupNorm(5, 5)), TOKENS)
case("instance_norm", lambda: with_affine(nn.InstanceNorm2d(6, affine=True)))
case("instance_norm_tracked", lambda: nn.InstanceNorm1d(5, track_running_stats=True), TOKENS)

# linear
case("linear", lambda: nn.Linear(12, 7), random((3, 12)))
case("linear_no_bias", lambda: nn.Linear(12, 33, bias=False), random((3, 12)))
case("linear_rank3", lambda: nn.Linear(12, 16), TOKENS)
case("linear_rank4", lambda: nn.Linear(11, 3))
case("linear_one_output", lambda: nn.Linear(12, 1), random((3, 12)))
case("linear_relu", lambda: nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 5)), random((3, 12)))
case("matmul_constant", lambda: WithBuffer(lambda x, c: x @ c, torch.randn(12, 5)), TOKENS)
case(
    "addmm",
    lambda: WithBuffer(lambda x, c: torch.addmm(c[0], x, c.t()), torch.randn(12, 12)),
    random((3, 12)),
)

# conv2d
case("conv3x3", lambda: nn.Conv2d(6, 8, 3, padding=1))
case("conv3x3_no_bias", lambda: nn.Conv2d(6, 17, 3, bias=False))
case("conv1x1", lambda: nn.Conv2d(6, 20, 1))
case("conv5x5_stride2", lambda: nn.Conv2d(6, 8, 5, stride=2, padding=2))
case("conv3x3_stride21", lambda: nn.Conv2d(6, 8, 3, stride=(2, 1), padding=(1, 0)))
case("conv1x7", lambda: nn.Conv2d(6, 8, (1, 7), padding=(0, 3)))
case("conv7x1", lambda: nn.Conv2d(6, 8, (7, 1), padding=(3, 0)))
case("conv_dilated", lambda: nn.Conv2d(6, 8, 3, padding=2, dilation=2))
case("conv_dilated_stride2", lambda: nn.Conv2d(6, 8, 3, stride=2, padding=(2, 4), dilation=(2, 3)))
case("conv_same_even", lambda: nn.Conv2d(6, 8, (4, 3), padding="same"))
case("conv_valid", lambda: nn.Conv2d(6, 8, 3, padding="valid"))
case("conv_groups", lambda: nn.Conv2d(6, 9, 3, padding=1, groups=3))
case("conv_groups_large", lambda: nn.Conv2d(6, 40, 3, padding=1, groups=2))
case("conv_depthwise", lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6))
case("conv_depthwise_5x5_stride2", lambda: nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6))
case("conv_depthwise_multiplier", lambda: nn.Conv2d(6, 12, 3, padding=1, groups=6))
case("conv_one_channel", lambda: nn.Conv2d(1, 4, 3), random((2, 1, 8, 8)))
case("conv1d", lambda: nn.Conv1d(6, 8, 3, stride=2, padding=1), random((2, 6, 13)))
case("conv1d_same", lambda: nn.Conv1d(6, 6, 4, padding="same", groups=6), random((2, 6, 13)))
case("conv_relu6", lambda: nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU6()))
# conv_transpose2d
for number, transposed in enumerate(
    [
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "bias": False},
        {"kernel_size": 3},
        {"kernel_size": (1, 5), "stride": (3, 2), "padding": (0, 2), "dilation": (1, 2)},
        {"kernel_size": 5, "stride": 3, "padding": 4, "output_padding": 2},
        {"kernel_size": 4, "stride": 2, "groups": 2},
        {"kernel_size": 3, "stride": 2, "groups": 6, "padding": 1},
    ]
):
    case(f"conv_transpose_{number}", lambda options=transposed: nn.ConvTranspose2d(6, 12, **options))
case("conv_transpose_1d", lambda: nn.ConvTranspose1d(12, 5, 4, 2, 1), random((2, 12, 7)))

case("pad_conv", lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(6, 8, 3, stride=2)))

# batch norm
case("batch_norm2d", lambda: batch_norm(nn.BatchNorm2d(6)))
case("batch_norm2d_plain", lambda: batch_norm(nn.BatchNorm2d(6, affine=False)))
case("batch_norm1d", lambda: batch_norm(nn.BatchNorm1d(12)), random((3, 12)))
case("batch_norm1d_rank3", lambda: batch_norm(nn.BatchNorm1d(5)), TOKENS)
case("conv_bn", lambda: batch_norm(nn.Sequential(nn.Conv2d(6, 20, 3), nn.BatchNorm2d(20))))
case(
    "conv_bn_relu",
    lambda: batch_norm(nn.Sequential(nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())),
)


def clustered(module: nn.Module) -> nn.Module:
    """Weights of 16 values, which a folded batch norm would destroy."""
    for m in module.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            m.weight.data = (m.weight.data / m.weight.data.abs().max() * 7).round() / 32
    return batch_norm(module)


class ClusteredResidual(nn.Module):
    """conv + bn + residual + relu, twice, with clustered weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)) + x)
        return F.relu(self.bn2(self.conv2(x)) + x)


case("clustered_conv_bn_residual", lambda: clustered(ClusteredResidual()))
case(
    "clustered_depthwise_bn",
    lambda: clustered(nn.Sequential(nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.BatchNorm2d(6), nn.ReLU6())),
)
case(
    "clustered_linear_bn",
    lambda: clustered(nn.Sequential(nn.Linear(12, 40), nn.BatchNorm1d(40), nn.Sigmoid())),
    random((3, 12)),
)
case("depthwise_bn", lambda: batch_norm(nn.Sequential(nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6))))
case(
    "linear_bn",
    lambda: batch_norm(nn.Sequential(nn.Linear(12, 9), nn.BatchNorm1d(9), nn.Tanh())),
    random((3, 12)),
)
case("bn_bn_relu", lambda: batch_norm(nn.Sequential(nn.BatchNorm2d(6), nn.BatchNorm2d(6), nn.ReLU())))

# activations
for module in (
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.LeakyReLU(0.3), nn.Sigmoid(), nn.Tanh(), nn.SiLU(),
    nn.Hardswish(), nn.Hardsigmoid(), nn.GELU(), nn.GELU("tanh"), nn.ELU(), nn.ELU(0.4), nn.SELU(),
    nn.Softplus(), nn.Softplus(2, 3), nn.Mish(), nn.Hardtanh(-0.5, 0.7), nn.PReLU(), nn.PReLU(6),
    nn.Identity(), nn.Dropout(),
    nn.Softmax(1), nn.Softmax(-1), nn.LogSoftmax(1), nn.LogSoftmax(3), nn.ReLU(inplace=True), nn.Softmax2d(),
):  # fmt: skip
    label = str(module).replace(" ", "").lower()
    case(
        f"act_{label}",
        lambda module=module: nn.Sequential(nn.Identity(), module),
        random((2, 6, 9, 11), scale=4.0),
    )
case("softmax_rank2", lambda: nn.Softmax(1), random((3, 12)))
case("softmax_tokens", lambda: nn.Softmax(1), TOKENS)
function("clamp", lambda x: x.clamp(-0.5, 0.25))
function("clamp_min", lambda x: x.clamp(min=0.25))
function("clamp_max", lambda x: torch.clamp_max(x, 0.25))
function("exp", torch.exp)
function("sqrt", torch.sqrt, random((2, 6, 4, 5), positive=True))
function("rsqrt", torch.rsqrt, random((2, 6, 4, 5), positive=True))
function("reciprocal", torch.reciprocal, random((2, 6, 4, 5), positive=True))
function("abs", torch.abs)
function("neg", torch.neg)
function("square", torch.square)
function("pow2", lambda x: x**2)
function("pow3", lambda x: x**3)
function("pow_half", lambda x: x**0.5, random((2, 6, 4, 5), positive=True))
function("pow_fraction", lambda x: x**1.7, random((2, 6, 4, 5), positive=True))
function("pow_of", lambda x: 2**x)

# arithmetic
function("add_scalar", lambda x: x + 1.5)
function("sub_scalar", lambda x: x - 1.5)
function("rsub_scalar", lambda x: 1.5 - x)
function("mul_scalar", lambda x: 3 * x)
function("div_scalar", lambda x: x / 3)
function("rdiv_scalar", lambda x: 3 / x, random((2, 6, 4, 5), positive=True))
function("scalar_chain_relu", lambda x: F.relu((x - 0.5) / 0.25))
function("add", lambda a, b: a + b, random((2, 6, 4, 5), (2, 6, 4, 5)))
function("add_alpha", lambda a, b: torch.add(a, b, alpha=0.5), random((2, 6, 4, 5), (2, 6, 4, 5)))
function("sub", lambda a, b: a - b, random((2, 12), (2, 12)))
function("mul", lambda a, b: a * b, random((2, 5, 12), (2, 5, 12)))
function("div", lambda a, b: a / b, random((2, 6, 4, 5), (2, 6, 4, 5), positive=True))
function("add_itself", lambda x: x + x)
function("add_relu", lambda a, b: F.relu(a + b), random((2, 6, 4, 5), (2, 6, 4, 5)))
function("mul_by_channel", lambda a, b: a * b, random((2, 6, 4, 5), (2, 6, 1, 1)))
function("mul_channel_first", lambda a, b: b * a, random((2, 6, 4, 5), (2, 6, 1, 1)))
function("mul_by_pixel", lambda a, b: a * b, random((2, 6, 4, 5), (2, 1, 4, 5)))
function("add_row_column", lambda a, b: a + b, random((2, 6, 4, 1), (2, 6, 1, 5)))
function("add_unsqueezed", lambda a, b: a + b[:, :, None, None], random((2, 6, 4, 5), (2, 6)))
case(
    "class_token",
    lambda: WithBuffer(lambda x, c: torch.cat([c.expand(x.shape[0], -1, -1), x], 1), torch.randn(1, 1, 12)),
    TOKENS,
)
function(
    "baddbmm",
    lambda x, a, b: torch.baddbmm(x, a, b, beta=0.5, alpha=2),
    random((2, 1, 4), (2, 5, 12), (2, 12, 4)),
)
function("cat_empty", lambda x: torch.cat([torch.zeros(0), x], 1) * 2)
function("roll", lambda x: torch.roll(x, (-2, 14), (1, -1)))
function("repeat", lambda x: x[:, :, :1].repeat(1, 2, 4, 3))
case(
    "repeat_constant",
    lambda: WithBuffer(lambda x, c: c.repeat(x.shape[0], 1, 2) + x, torch.randn(1, 5, 6)),
    TOKENS,
)
function("expanded_output", lambda x: x[:, :1].expand(-1, 4, -1, -1))
function("zeros_beside", lambda x: torch.cat([x, torch.zeros_like(x[:, :2])], 1))
function("zeros_written", lambda x: x + counted(x))
function("mul_expanded", lambda a, b: a * b.expand_as(a), random((2, 6, 4, 5), (2, 6, 1, 1)))
case("add_constant_channel", lambda: WithBuffer(lambda x, c: x + c, torch.randn(6, 1, 1)))
case("mul_constant_channel", lambda: WithBuffer(lambda x, c: x * c, torch.randn(1, 6, 1, 1)))
case("constant_minus", lambda: WithBuffer(lambda x, c: c - x, torch.randn(6, 1, 1)))
case("minus_constant", lambda: WithBuffer(lambda x, c: x - c, torch.randn(12)), TOKENS)
case("div_constant", lambda: WithBuffer(lambda x, c: x / c, torch.rand(6, 1, 1) + 0.5))
case(
    "constant_div",
    lambda: WithBuffer(lambda x, c: c / x, torch.randn(6, 1, 1)),
    random((2, 6, 4, 5), positive=True),
)
case("add_constant_map", lambda: WithBuffer(lambda x, c: x + c, torch.randn(5, 12)), TOKENS)
case("mul_constant_map", lambda: WithBuffer(lambda x, c: x * c, torch.randn(6, 9, 11)))
case("add_constant_zero_dim", lambda: WithBuffer(lambda x, c: x + c, torch.tensor(0.7)))
case("add_constant_width", lambda: WithBuffer(lambda x, c: x + c, torch.randn(11)))
case("normalize", lambda: WithBuffer(lambda x, c: (x - c) / (c.abs() + 1), torch.randn(6, 1, 1)))

# pooling, reductions, interpolation
case("max_pool", lambda: nn.MaxPool2d(2))
case("max_pool_3s2p1", lambda: nn.MaxPool2d(3, 2, 1))
case("max_pool_ceil", lambda: nn.MaxPool2d(3, 2, ceil_mode=True))
case("max_pool_ceil_pad", lambda: nn.MaxPool2d(2, 2, 1, ceil_mode=True), random((2, 3, 10, 9)))
case("max_pool_dilated", lambda: nn.MaxPool2d((2, 3), 1, (1, 1), dilation=(3, 2)))
case("avg_pool", lambda: nn.AvgPool2d(2))
case("avg_pool_pad", lambda: nn.AvgPool2d(3, 2, 1))
case("avg_pool_exclude_pad", lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False))
case("avg_pool_ceil", lambda: nn.AvgPool2d((3, 2), 2, (1, 0), ceil_mode=True))
case("avg_pool_ceil_exclude", lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False))
case("avg_pool_divisor", lambda: nn.AvgPool2d(3, 2, 1, divisor_override=5))
case("max_pool1d", lambda: nn.MaxPool1d(3, 2, 1), random((2, 6, 13)))
case("avg_pool1d", lambda: nn.AvgPool1d(3, 2, 1), random((2, 6, 13)))
case("adaptive_avg_1", lambda: nn.AdaptiveAvgPool2d(1))
case("adaptive_avg_odd", lambda: nn.AdaptiveAvgPool2d((4, 7)))
case("adaptive_avg_none", lambda: nn.AdaptiveAvgPool2d((None, 3)))
case("adaptive_avg_same", lambda: nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d((9, 11))))
case("adaptive_max", lambda: nn.AdaptiveMaxPool2d((4, 5)))
case("adaptive_avg1d", lambda: nn.AdaptiveAvgPool1d(3), random((2, 6, 13)))
case("adaptive_max1d", lambda: nn.AdaptiveMaxPool1d(4), random((2, 6, 13)))
function("mean_hw", lambda x: x.mean((2, 3)))
function("mean_hw_keepdim", lambda x: x.mean((-2, -1), keepdim=True))
function("mean_channel", lambda x: x.mean(1))
function("mean_channel_keepdim", lambda x: x - x.mean(1, keepdim=True))
function("mean_tokens", lambda x: x.mean(1), TOKENS)
function("sum_last", lambda x: x.sum(-1), TOKENS)
function("sum_width", lambda x: x.sum(3, keepdim=True))
function("amax", lambda x: x.amax((1, 3)))
function("max_values", lambda x: x.max(2).values)
function("upsample_nearest", lambda x: F.interpolate(x, scale_factor=2))
function("upsample_nearest_size", lambda x: F.interpolate(x, size=(13, 20)))
function("upsample_nearest_fraction", lambda x: F.interpolate(x, scale_factor=(1.5, 0.7)))
function("upsample_bilinear", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"))
function("upsample_bilinear_fraction", lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"))
function("upsample_bilinear_size", lambda x: F.interpolate(x, size=(5, 23), mode="bilinear"))
function(
    "upsample_bilinear_corners",
    lambda x: F.interpolate(x, size=(14, 20), mode="bilinear", align_corners=True),
)
function(
    "upsample_scale_corners", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
)

# moving elements
function("cat_channels", lambda a, b: torch.cat([a, b], 1), random((2, 6, 4, 5), (2, 3, 4, 5)))
function("cat_width", lambda a, b: torch.cat([a, b, a], -1), random((2, 6, 4, 5), (2, 6, 4, 2)))
function("cat_features", lambda a, b: torch.cat([a, b], 1), random((2, 12), (2, 3)))
function("stack", lambda a, b: torch.stack([a, b], 1), random((2, 6), (2, 6)))
function("chunk", lambda x: [c + i for i, c in enumerate(x.chunk(3, 1))])
function("chunk_uneven", lambda x: tuple(c * 2 for c in x.chunk(2, 3)))
function("split_sizes", lambda x: torch.cat([F.relu(c) for c in x.split([1, 2, 3], 1)][::-1], 1))
function("slice_strided", lambda x: x[:, :, ::2, ::2])
function("slice_negative", lambda x: x[:, 1:-1, -4:, :-2])
function("select", lambda x: x[:, 2])
function("select_last", lambda x: x[..., -1])
function("unbind", lambda x: torch.unbind(x, 1)[1] + 1)
function("flatten", lambda x: x.flatten(1))
function("flatten_linear_like", lambda x: x.flatten(1).relu())
function("view_groups", lambda x: x.view(x.shape[0], 2, 3, x.shape[2], -1))
function("channel_shuffle", lambda x: x.view(-1, 2, 3, 9, 11).transpose(1, 2).reshape(-1, 6, 9, 11))
function("tokens", lambda x: x.flatten(2).transpose(1, 2))
function("permute", lambda x: x.permute(0, 2, 3, 1))
function("permute_contiguous", lambda x: x.permute(0, 3, 1, 2).contiguous() * 2)
function("transpose", lambda x: x.transpose(1, 3))
function("squeeze", lambda x: x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1))
function("unsqueeze", lambda x: x.unsqueeze(1), random((2, 12)))
function("pad_constant", lambda x: F.pad(x, (1, 2, 0, 3), value=0.5))
for mode in ("reflect", "replicate", "circular"):
    function(f"pad_{mode}", lambda x, mode=mode: F.pad(x, (2, 1, 0, 3), mode=mode))
case("pad_reflect_1d", lambda: nn.Conv1d(12, 4, 3, padding=1, padding_mode="reflect"), random((2, 12, 7)))
function("pad_channels", lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3)))
function("dict_output", lambda x: {"twice": x * 2, "same": x, "mean": x.mean((1, 2, 3))})
function("same_output_twice", lambda x: (x.relu(), x.relu(), x))
function("rank1", lambda x: x * 2 + 1, random((7,)))


# composed nets


class Residual(nn.Module):
    """conv-bn-relu-conv-bn, projected or option-A shortcut, add, relu."""

    def __init__(self, inputs: int, outputs: int, stride: int, option_a: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, (outputs - inputs) // 2
        self.option_a = option_a
        if not option_a:
            self.down = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if not self.option_a:
            return F.relu(y + self.down(x))
        if self.stride != 1 or self.extra:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(y + x)


def resnet(option_a: bool) -> nn.Module:
    blocks = [Residual(8, 8, 1, option_a), Residual(8, 16, 2, option_a), Residual(16, 16, 1, option_a)]
    stem = [nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    return batch_norm(nn.Sequential(*stem, *blocks, *head))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 4, 1)
        self.fc2 = nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc2(F.silu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class InvertedResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(6, 24, 1, bias=False), nn.BatchNorm2d(24), nn.Hardswish())
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False)
        self.bn = nn.BatchNorm2d(24)
        self.se = SqueezeExcite(24)
        self.project = nn.Sequential(nn.Conv2d(24, 6, 1, bias=False), nn.BatchNorm2d(6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.se(F.hardswish(self.bn(self.depthwise(self.expand(x))))))


class Branches(nn.Module):
    """Split, two paths, concat, shuffle, as in ShuffleNet and Inception."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 5, 1)
        self.right = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, (1, 3), padding=(0, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        y = torch.cat([self.left(a), self.right(b), F.avg_pool2d(x, 3, 1, 1)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class SharedWeights(nn.Module):
    """One linear layer used three times, and a second layer tied to it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 12)
        self.tied = nn.Linear(12, 12)
        self.tied.weight = self.layer.weight
        self.norm = batch_norm(nn.BatchNorm1d(12))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.tied(F.relu(self.layer(F.relu(self.layer(self.layer(x)))))))


class TokensNet(nn.Module):
    """Conv features as tokens through linear layers and back (changes of the channel axis)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8, 16)
        self.back = nn.Linear(16, 8)
        self.norm = batch_norm(nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        t = x.flatten(2).transpose(1, 2)
        t = t + self.back(F.gelu(self.fc(t)))
        return self.norm(t.transpose(1, 2).reshape(x.shape)) + x


def lenet5() -> nn.Module:
    features = [
        nn.Conv2d(1, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10))


def tokens(high: int, *shapes: tuple[int, ...]) -> Callable[[], tuple[Tensor, ...]]:
    def make() -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(1)
        return tuple(torch.randint(0, high, shape, generator=generator) for shape in shapes)

    return make


def table(grid: Callable[[Tensor], Tensor] = lambda w: w, rows: int = 40, columns: int = 12) -> nn.Module:
    """An embedding whose weights lie on a grid, and a layer behind it."""
    net = nn.Sequential(nn.Embedding(rows, columns), nn.Linear(columns, 5))
    weight = net[0].weight
    assert isinstance(weight, nn.Parameter)
    weight.data = grid(weight.data)
    return net


def per_row_int8(net: nn.Module) -> nn.Module:
    class RowGrid(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            scale = w.detach().float().abs().amax(1) / 127
            zero = torch.zeros(len(w), dtype=torch.int32)
            return torch.fake_quantize_per_channel_affine(w, scale, zero, 0, -127, 127)

    assert isinstance(net, nn.Sequential)
    parametrize.register_parametrization(net[0], "weight", RowGrid())
    return net


case("embedding", table, tokens(40, (2, 7)))
case("embedding_f16", lambda: table(lambda w: w.half().float()), tokens(40, (2, 7)))
case("embedding_codebook", lambda: table(lambda w: (2 * w).round() / 2), tokens(40, (3, 20)))
case("embedding_int8", lambda: per_row_int8(table(rows=41, columns=30)), tokens(41, (2, 7)))
case("embedding_alone", lambda: nn.Embedding(9, 3), tokens(9, (2,)))


class Norms(nn.Module):
    def __init__(self, rms: bool) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(24, eps=1e-6) if rms else nn.LayerNorm(24)
        self.wide = nn.LayerNorm((3, 24))
        self.plain = nn.LayerNorm(24, elementwise_affine=False)
        nn.init.normal_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(self.wide(self.norm(x)) + x)


class Attention(nn.Module):
    """Queries, keys and values of linear layers; fused, or written out, as it was before torch had it."""

    def __init__(
        self, fused: bool, heads: int = 4, kv_heads: int = 4, causal: bool = False, size: int = 8
    ) -> None:
        super().__init__()
        self.fused, self.causal, self.size = fused, causal, size
        self.q = nn.Linear(24, heads * size)
        self.k = nn.Linear(24, kv_heads * size)
        self.v = nn.Linear(24, kv_heads * size)
        self.out = nn.Linear(heads * size, 24)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            layer(x).unflatten(2, (-1, self.size)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        if mask is not None and mask.dim() == 2:
            mask = mask[:, None, None, :]
        if self.fused:
            if mask is not None and not mask.is_floating_point():
                mask = mask.bool()
            options = {"is_causal": self.causal, "enable_gqa": q.shape[1] != k.shape[1]}
            y = F.scaled_dot_product_attention(q, k, v, mask, **options)
        else:
            scores = q @ k.transpose(2, 3) / self.size**0.5
            if mask is not None:
                scores = scores + (1 - mask.to(scores.dtype)) * -10000.0
            y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).flatten(2))


def sentence(*mask: int, length: int = 21, bias: bool = False) -> Callable[[], tuple[Tensor, ...]]:
    """Tokens, and a mask (or bias) of shape [batch, *mask, length]."""

    def make() -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(1)
        x = torch.randn((2, length, 24), generator=generator)
        shape = (2, *mask, length)
        seen = torch.randint(0, 2, shape, generator=generator)
        seen[..., 0] = 1
        return x, torch.randn(shape, generator=generator) if bias else seen

    return make


def unmasked(length: int) -> Callable[[], tuple[Tensor, ...]]:
    return random((2, length, 24))


class Pooled(nn.Module):
    """The mean of the tokens that a mask lets through, at unit length."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        seen = mask.unsqueeze(-1).expand(x.size()).to(x.dtype)
        return F.normalize((x * seen).sum(1) / seen.sum(1).clamp(min=1e-9), p=2, dim=1)


class Positions(nn.Module):
    """Positions from the ids, as in RoBERTa, and from a buffer, as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(30, 8, padding_idx=1), nn.Embedding(40, 8)
        self.register_buffer("numbers", torch.arange(32).expand(1, -1))
        self.register_buffer("waves", torch.randn(1, 32, 8))

    def forward(self, ids: Tensor) -> Tensor:
        seen = ids.ne(1).int()
        places = (torch.cumsum(seen, 1).type_as(seen) * seen).long() + 1
        length = ids.shape[1]
        rows = self.places(self.numbers[:, :length]) + self.waves[:, :length]
        return self.words(ids) + self.places(places) + rows


case("norm_layer", lambda: Norms(False), random((2, 5, 3, 24)))
case("norm_rms", lambda: Norms(True), random((2, 5, 3, 24)))
case("attention", lambda: Attention(True), unmasked(21))
case("attention_few", lambda: Attention(True), unmasked(3))
case("attention_long", lambda: Attention(True, size=5), unmasked(300))
case("attention_causal", lambda: Attention(True, causal=True), unmasked(70))
case("attention_grouped", lambda: Attention(True, kv_heads=2), unmasked(21))
case("attention_key_mask", lambda: Attention(True), sentence())
case("attention_bool_mask", lambda: Attention(True), sentence(1, 21))
case("attention_bias", lambda: Attention(True), sentence(4, 21, bias=True))
case("attention_written_out", lambda: Attention(False), unmasked(21))
case("attention_written_out_mask", lambda: Attention(False), sentence())
case("product", lambda: Function(lambda a, b: a @ b.transpose(1, 2)), random((2, 17, 9), (2, 21, 9)))
case("product_broadcast", lambda: Function(lambda a: a @ a[:, :1].transpose(2, 3)), random((2, 3, 5, 9)))
case(
    "einsum",
    lambda: Function(lambda a, b: torch.einsum("bqhd,bkhd->bhqk", a, b)),
    random((2, 5, 3, 4), (2, 6, 3, 4)),
)
case("pooled", Pooled, lambda: (unmasked(21)()[0], torch.tensor([[1] * 21, [1] * 9 + [0] * 12])))
case("positions", Positions, tokens(30, (2, 7)))
case(
    "where",
    lambda: Function(lambda a, b: torch.where((a > 0.5) | ~(b <= a), a, b[:, :1])),
    random((2, 6), (2, 6)),
)
case(
    "masked_fill",
    lambda: Function(lambda a, b: a.masked_fill(b[:, None] == 0, -3.0)),
    lambda: (random((2, 3, 5))()[0], tokens(2, (2, 5))()[0]),
)
case("net_lenet5", lenet5, random((2, 1, 28, 28)))
case(
    "net_mlp",
    lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10)),
    random((2, 1, 28, 28)),
)
case("net_resnet_option_a", lambda: resnet(True), random((2, 3, 16, 16)))
case("net_resnet_projected", lambda: resnet(False), random((2, 3, 16, 16)))
case("net_squeeze_excite", lambda: SqueezeExcite(6))
case("net_inverted_residual", lambda: batch_norm(InvertedResidual()))
case("net_branches", Branches)
case("net_shared_weights", SharedWeights, random((3, 12)))
case("net_tokens", TokensNet)


# recurrent layers
class Recurrent(nn.Module):
    """All that a layer gives: the sequence and the final states. Initial states come batch first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        initial = tuple(s.transpose(0, 1).contiguous() for s in states)
        y, last = self.layer(x, *([] if not initial else [initial if len(initial) > 1 else initial[0]]))
        return (y, *last) if isinstance(last, tuple) else (y, last)


class LastStep(nn.Module):
    """The usual classifier on the last step of a sequence."""

    def __init__(self, layer: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


def pruned(layer: nn.Module) -> nn.Module:
    """Large zeroed recurrent weights, stored as csr."""
    for name, p in layer.named_parameters():
        if name.startswith("weight_hh"):
            p.data *= torch.rand_like(p) > 0.8
    return layer


case("lstm", lambda: Recurrent(nn.LSTM(12, 20)), random((19, 1, 12)))
case("lstm_batch_first", lambda: Recurrent(nn.LSTM(12, 9, batch_first=True)), random((3, 5, 12)))
case("lstm_two_ways", lambda: Recurrent(nn.LSTM(12, 8, 2, bidirectional=True)), random((7, 2, 12)))
case("lstm_no_bias", lambda: Recurrent(nn.LSTM(12, 8, bias=False)), random((4, 11, 12)))
case(
    "lstm_states",
    lambda: Recurrent(nn.LSTM(12, 8, 2, batch_first=True)),
    random((1, 18, 12), (1, 2, 8), (1, 2, 8)),
)
case("lstm_pruned", lambda: Recurrent(pruned(nn.LSTM(12, 64))), random((18, 1, 12)))
case("lstm_pruned_batch", lambda: Recurrent(pruned(nn.LSTM(12, 64))), random((3, 20, 12)))
case("gru", lambda: Recurrent(nn.GRU(12, 20)), random((19, 1, 12)))
case("gru_two_ways", lambda: Recurrent(nn.GRU(12, 8, 2, bidirectional=True)), random((7, 3, 12)))
case("gru_states", lambda: Recurrent(nn.GRU(12, 8, batch_first=True)), random((2, 5, 12), (2, 1, 8)))
case(
    "gru_classifier",
    lambda: LastStep(nn.GRU(12, 16, batch_first=True), nn.Linear(16, 3)),
    random((2, 5, 12)),
)
