"""Where a traced network is rounded to u8: after each chain that one integer op computes."""

from __future__ import annotations

import operator
from collections.abc import Iterable

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from converters.compress.binary import BinaryConv2d, BinaryLinear
from converters.compress.integers import FakeQuantize
from converters.compress.prune import Mask

ADDS: set[object] = {operator.add, operator.iadd, torch.add, "add", "add_"}
CLAMPS: set[object] = {
    nn.ReLU,
    nn.ReLU6,
    nn.Hardtanh,
    F.relu,
    F.relu6,
    F.hardtanh,
    torch.relu,
    torch.clamp,
    "relu",
    "relu_",
}
TABLES: set[object] = {
    *(nn.Hardswish, nn.Sigmoid, nn.SiLU, nn.GELU, nn.Tanh, nn.LeakyReLU, nn.Hardsigmoid, nn.ELU, nn.Mish),
    *(F.hardswish, F.silu, F.gelu, F.leaky_relu, F.hardsigmoid, F.elu, F.mish),
    *(torch.sigmoid, torch.tanh, F.sigmoid, F.tanh, "sigmoid", "tanh"),
}
MEANS: set[object] = {nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d, torch.mean, "mean"}
MOVES: set[object] = {
    *(nn.MaxPool2d, nn.Flatten, nn.Dropout, nn.Identity, nn.ZeroPad2d),
    *(F.max_pool2d, torch.flatten, F.pad, F.dropout, operator.getitem),
    *("flatten", "view", "reshape", "contiguous", "squeeze", "unsqueeze"),
}
CATS: set[object] = {torch.cat, torch.concat}
WEIGHTED: set[object] = {nn.Conv2d, nn.Linear}


def of_signs(layer: nn.Module) -> bool:
    """Whether it multiplies signs, which are bits and no integers."""
    return isinstance(layer, (BinaryConv2d, BinaryLinear)) and layer.sign is not None


def take_plain(traced: fx.GraphModule) -> None:
    """Layers of binary and ternary weights that do not take signs become plain ones with these weights."""
    for node in traced.graph.nodes:
        layer = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, (BinaryConv2d, BinaryLinear)) or of_signs(layer):
            continue
        with torch.no_grad():
            weight, bias = layer.weight.clone(), layer.bias is not None
        plain: nn.Module
        if isinstance(layer, BinaryLinear):
            plain = nn.Linear(layer.in_features, layer.out_features, bias)
        else:
            if layer.pad_value != 0:
                raise ValueError(f"'{node.target}' is padded with {layer.pad_value}; quantize needs zeros")
            sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride)
            plain = nn.Conv2d(*sizes, layer.padding, layer.dilation, layer.groups, bias)  # type: ignore[arg-type]
        plain.weight = nn.Parameter(weight)
        plain.bias = layer.bias
        traced.set_submodule(str(node.target), plain.train(layer.training))


def fold_batch_norm(traced: fx.GraphModule) -> None:
    """Batch norm into the convolution or linear layer before it, where nothing else reads that.

    Of a layer's parametrizations masks stay; scaled rows are on no grid and in no codebook any more.
    """
    for node in list(traced.graph.nodes):
        norm = traced.get_submodule(node.target) if node.op == "call_module" else None
        if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) or norm.running_mean is None:
            continue
        before = node.args[0]
        if before.op != "call_module" or len(before.users) > 1:
            continue
        layer = traced.get_submodule(before.target)
        if of_signs(layer):
            continue
        masks: list[nn.Module] = []
        if parametrize.is_parametrized(layer, "weight"):
            masks = [p for p in layer.parametrizations.weight if isinstance(p, Mask)]  # type: ignore[union-attr]
            parametrize.remove_parametrizations(layer, "weight")
        if isinstance(layer, nn.Conv2d):
            folded: nn.Module = fuse_conv_bn_eval(layer, norm)
        elif isinstance(layer, nn.Linear):
            folded = fuse_linear_bn_eval(layer, norm)
        else:
            continue
        for mask in masks:
            parametrize.register_parametrization(folded, "weight", mask)
        traced.set_submodule(before.target, folded)
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()


class Placement:
    """Inserts FakeQuantize modules into `traced`; `skip` names layers that stay in float."""

    def __init__(self, traced: fx.GraphModule, skip: Iterable[str]) -> None:
        self.traced, self.skip = traced, set(skip)
        self.modules: dict[fx.Node, FakeQuantize] = {}

    def run(self) -> None:
        nodes = list(self.traced.graph.nodes)
        for node in nodes:
            if self._ends_chain(node):
                self._insert(node)
        for node in self.traced.graph.nodes:
            if self._in(node, CATS):
                self._share(node)
        self.traced.recompile()

    def _kind(self, node: fx.Node) -> object:
        if node.op == "call_module":
            return parametrize.type_before_parametrizations(self.traced.get_submodule(str(node.target)))
        return node.target if node.op in ("call_function", "call_method") else None

    def _in(self, node: fx.Node, kinds: set[object]) -> bool:
        if node.op == "call_module" and node.target in self.skip:
            return False
        if kinds is ADDS and self._kind(node) in ADDS:
            return sum(isinstance(a, fx.Node) for a in node.args) == 2
        return self._kind(node) in kinds

    def _integer(self, node: fx.Node) -> bool:
        return any(self._in(node, kinds) for kinds in (WEIGHTED, ADDS, TABLES, MEANS, CATS))

    def _feeds_integers(self, node: fx.Node) -> bool:
        return any(
            self._integer(user) or (self._in(user, MOVES) and self._feeds_integers(user))
            for user in node.users
        )

    def _fused_into_add(self, node: fx.Node) -> bool:
        """Whether an addition takes this layer's sums before they are rounded: one of its two inputs only."""
        (user,) = node.users
        if not self._in(user, ADDS):
            return False
        layers = [
            a for a in user.args if isinstance(a, fx.Node) and self._in(a, WEIGHTED) and len(a.users) == 1
        ]
        return node is max(layers, key=list(self.traced.graph.nodes).index)

    def _ends_chain(self, node: fx.Node) -> bool:
        if node.op == "output" or self._in(node, MOVES) or not self._tensor(node):
            return False
        if len(node.users) == 1 and (self._in(node, WEIGHTED) or self._in(node, ADDS)):
            (user,) = node.users
            if self._in(user, CLAMPS):
                return False
            if self._in(node, WEIGHTED) and self._fused_into_add(node):
                return False
        return self._feeds_integers(node)

    def _tensor(self, node: fx.Node) -> bool:
        return node.op != "get_attr" and self._kind(node) not in (getattr, "size")

    def _insert(self, node: fx.Node) -> None:
        name = f"{str(node.target).replace('.', '_') if node.op == 'call_module' else node.name}_quant"
        while hasattr(self.traced, name):
            name += "_"
        quantizer = FakeQuantize()
        self.traced.add_submodule(name, quantizer)
        with self.traced.graph.inserting_after(node):
            rounded = self.traced.graph.call_module(name, (node,))
        node.replace_all_uses_with(rounded, delete_user_cb=lambda user: user is not rounded)
        self.modules[rounded] = quantizer

    def _share(self, cat: fx.Node) -> None:
        """One scale for all parts of a concat, which then moves bytes only."""
        sources = [self._source(part) for part in cat.args[0]]  # type: ignore[union-attr]
        if any(source is None for source in sources):
            return
        first = sources[0]
        assert first is not None
        for source in (*sources, *(user for user in cat.users if user in self.modules)):
            assert source is not None
            shared = source.target
            for node in self.traced.graph.nodes:
                if node.op == "call_module" and node.target == shared:
                    node.target = first.target

    def _source(self, node: object) -> fx.Node | None:
        while isinstance(node, fx.Node) and node not in self.modules:
            if not self._in(node, MOVES):
                return None
            node = node.args[0]
        return node if isinstance(node, fx.Node) else None
