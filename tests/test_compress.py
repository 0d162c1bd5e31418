"""converters.compress: what is promised of masks, schedules, codebooks and their training."""

# ruff: noqa: E402

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `convert`")

from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from converters.compress import (
    QuantNoise,
    adopt_masks,
    cluster,
    cubic_sparsity,
    deep_compression,
    half,
    product_quantize,
    prune,
    quant_noise,
    quantize_weights,
    remove_quant_noise,
    sparsity_of,
)
from converters.compress.cluster import _initial_centroids


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    features = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(6 * 36, 40), nn.ReLU(), nn.Linear(40, 10))


X = torch.linspace(-1, 1, 5 * 64).view(5, 1, 8, 8)


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    F.cross_entropy(net(X), torch.arange(5)).backward()
    optimizer.step()


def zeros(net: nn.Module) -> dict[str, int]:
    return {name: int((net.get_submodule(name).weight == 0).sum()) for name in sparsity_of(net)}


# pruning


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.875, 0.97])
def test_layer_sparsity_is_exact_and_takes_the_smallest(net, sparsity):
    before = copy.deepcopy(net)
    assert prune(net, sparsity) is net
    for name, count in zeros(net).items():
        old, new = before.get_submodule(name).weight, net.get_submodule(name).weight
        assert count == round(sparsity * old.numel())
        assert torch.equal(new[new != 0], old[new != 0])
        if count:
            assert old[new == 0].abs().max() <= old[new != 0].abs().min()


def test_sparsity_by_name_leaves_the_others_alone(net):
    prune(net, {"3": 0.5, "5": 0.9})
    assert zeros(net) == {"0": 0, "3": 6 * 36 * 40 // 2, "5": 360}
    assert not parametrize.is_parametrized(net[0])
    assert sparsity_of(net) == {"0": 0.0, "3": 0.5, "5": pytest.approx(0.9)}


def test_global_sparsity_is_exact_over_all_layers(net):
    before = torch.cat([net[i].weight.detach().flatten().abs() for i in (0, 3, 5)])
    prune(net, 0.8, scope="global")
    after = torch.cat([net[i].weight.detach().flatten() for i in (0, 3, 5)])
    assert int((after == 0).sum()) == round(0.8 * len(after))
    assert before[after == 0].max() <= before[after != 0].min()


def test_layers_limits_global_scope(net):
    prune(net, 0.5, scope="global", layers=["3", "5"])
    assert zeros(net)["0"] == 0
    assert zeros(net)["3"] + zeros(net)["5"] == (6 * 36 * 40 + 400) // 2


def test_ties_are_pruned_to_the_exact_count():
    layer = nn.Linear(10, 10)
    nn.init.constant_(layer.weight, 0.5)
    prune(layer, 0.3)
    assert int((layer.weight == 0).sum()) == 30


def test_masks_survive_training_and_only_grow(net):
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, weight_decay=0.1)
    last = {i: torch.zeros_like(net[i].weight, dtype=torch.bool) for i in (0, 3, 5)}
    for i in range(4):
        prune(net, cubic_sparsity(i + 1, 4, 0.9))
        step(net, optimizer)  # the same optimizer: parameters keep their identity
        for layer, gone in last.items():
            weight = net[layer].weight
            assert (weight[gone] == 0).all()
            assert int((weight == 0).sum()) == round(cubic_sparsity(i + 1, 4, 0.9) * weight.numel())
            last[layer] = weight == 0
    assert len(net[3].parametrizations.weight) == 1  # one mask that grows, not a stack of them


def test_blocks_are_pruned_whole():
    layer = nn.Conv2d(6, 16, 3, bias=False)
    blocks = layer.weight.detach().abs().view(4, 4, 54).sum(1)
    prune(layer, 0.75, block=(4, 1))
    kept = layer.weight.detach().view(4, 4, 54) != 0
    assert torch.equal(kept.any(1), kept.all(1))
    assert kept.any(1).sum() == 54
    assert blocks[kept.any(1)].min() >= blocks[~kept.any(1)].max()
    # What was pruned alone stays pruned, and blocks are dropped around it.
    layer = prune(nn.Linear(64, 32), 0.3)
    before = layer.weight == 0
    prune(layer, 0.6, block=(8, 2))
    assert (layer.weight[before] == 0).all()
    tiles = (layer.weight != 0).view(4, 8, 32, 2).any(3).any(1)
    assert tiles.sum() == tiles.numel() - round(0.6 * tiles.numel())


@pytest.mark.parametrize("layer", [nn.Linear(32, 5), nn.Conv2d(8, 5, 3), nn.Conv2d(16, 4, 1, groups=2)])
def test_n_of_m(layer):
    dense = layer.weight.detach().clone()
    prune(layer, n=2, m=4)
    groups = layer.weight.detach().movedim(1, -1).reshape(-1, 4)
    assert ((groups != 0).sum(1) == 2).all()
    wanted = dense.movedim(1, -1).reshape(-1, 4).abs()
    assert torch.equal(groups.abs().amax(1), wanted.amax(1))
    assert torch.allclose(groups.abs().sum(1), wanted.topk(2).values.sum(1))


def test_a_lower_sparsity_brings_nothing_back(net):
    prune(net, 0.8)
    before = zeros(net)
    prune(net, 0.2)
    assert zeros(net) == before


def test_pruned_weights_are_plus_zero_without_gradient(net):
    prune(net, 0.5)
    weight = net[3].weight
    assert not torch.signbit(weight[weight == 0]).any()
    net(X).sum().backward()
    assert (net[3].parametrizations.weight.original.grad[weight == 0] == 0).all()


def test_schedule_is_the_cubic_of_zhu_and_gupta():
    assert [cubic_sparsity(t, 4, 0.8) for t in range(6)] == pytest.approx(
        [0.0, 0.8 * (1 - 0.75**3), 0.8 * (1 - 0.5**3), 0.8 * (1 - 0.25**3), 0.8, 0.8]
    )
    assert cubic_sparsity(0, 10, 0.9, initial=0.5) == 0.5
    assert cubic_sparsity(5, 10, 0.9, initial=0.5) == pytest.approx(0.9 - 0.4 * 0.125)
    assert cubic_sparsity(10, 10, 0.9, initial=0.5) == 0.9


def test_masks_of_torch_prune_are_taken_over(net):
    torch_prune.l1_unstructured(net[3], "weight", amount=0.5)
    torch_prune.random_unstructured(net[5], "bias", amount=3)
    gone, expected = net[3].weight == 0, net(X).detach()
    prune(net, {"3": 0.75})
    assert not hasattr(net[3], "weight_orig") and not net[3]._forward_pre_hooks
    assert (net[3].weight[gone] == 0).all() and zeros(net)["3"] == 6 * 36 * 30
    assert int((net[5].bias == 0).sum()) == 3

    torch_prune.ln_structured(net[0], "weight", amount=2, n=2, dim=0)
    expected = net(X).detach()
    adopt_masks(net)
    assert torch.equal(net(X), expected)
    step(net, torch.optim.SGD(net.parameters(), lr=1.0))
    assert int((net[0].weight.flatten(1).abs().sum(1) == 0).sum()) == 2
    assert int((net[5].bias == 0).sum()) == 3


# weight sharing


@pytest.mark.parametrize("init", ["linear", "density", "random"])
@pytest.mark.parametrize("bits", [1, 3, 5])
def test_no_more_than_k_values_and_zero(net, bits, init):
    prune(net, {"3": 0.9})
    gone = net[3].weight == 0
    cluster(net, bits=bits, init=init)
    assert torch.equal(net[3].weight == 0, gone)
    assert len(net[3].weight[~gone].unique()) <= 2**bits
    assert len(net[5].weight.unique()) <= 2**bits


def test_k_by_name(net):
    cluster(net, k={"0": 3, "5": 7})
    assert [len(net[i].weight.unique()) for i in (0, 5)] == [3, 7]
    assert not parametrize.is_parametrized(net[3])


def test_never_more_than_256_values_with_zero():
    layer = prune(nn.Linear(100, 100), 0.5)
    cluster(layer, bits=8)
    assert len(layer.weight.unique()) <= 256


def test_few_distinct_values_are_kept_exactly():
    layer = nn.Linear(64, 32)
    values = torch.tensor([0.1, -0.3, 0.0, 1e-8, 7.0])
    layer.weight.data = values[torch.arange(64 * 32).view(32, 64) % 5]
    before = layer.weight.detach().clone()
    cluster(layer, k=4)
    assert torch.equal(layer.weight, before)


def test_a_layer_of_zeros_stays_one():
    layer = nn.Linear(8, 8)
    nn.init.zeros_(layer.weight)
    cluster(layer, bits=2)
    assert (layer.weight == 0).all()


def test_centroids_are_the_means_of_their_members(net):
    before = net[3].weight.detach().clone()
    cluster(net, bits=4)
    after = net[3].weight.detach()
    for value in after.unique():
        assert before[after == value].mean().item() == pytest.approx(value.item(), abs=1e-6)
    # and each weight went to its nearest centroid
    nearest = (before[..., None] - after.unique()).abs().argmin(-1)
    assert (after.unique()[nearest] == after).double().mean() > 0.99


def test_centroid_gradient_is_the_sum_over_its_members(net):
    prune(net, {"3": 0.6})
    cluster(net, bits=3)
    dense = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 40), nn.ReLU(), nn.Linear(40, 10)
    )
    for i in (0, 3, 5):
        dense[i].load_state_dict({"weight": net[i].weight, "bias": net[i].bias})
    for model in (net, dense):
        F.cross_entropy(model(X), torch.arange(5)).backward()
    for i in (0, 3, 5):
        codebook = net[i].parametrizations.weight.original
        for value, gradient in zip(codebook, codebook.grad, strict=True):
            members = dense[i].weight == value
            torch.testing.assert_close(gradient, dense[i].weight.grad[members].sum(), rtol=1e-4, atol=1e-6)


def test_training_moves_the_centroids_and_nothing_else(net):
    prune(net, 0.5)
    cluster(net, bits=3)
    before = net[3].weight.detach().clone()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=0.01)
    for _ in range(3):
        step(net, optimizer)
    after = net[3].weight.detach()
    assert not torch.equal(after, before)
    assert torch.equal(after == 0, before == 0)
    for value in before.unique():
        assert len(after[before == value].unique()) == 1
    assert set(after.unique().tolist()) <= {0.0, *net[3].parametrizations.weight.original.tolist()}


def test_initial_centroids_are_those_of_the_paper():
    values = np.concatenate([np.linspace(-1, -0.9, 90), np.linspace(0, 1, 10)])
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(_initial_centroids(values, 5, "linear", rng), [-1, -0.5, 0, 0.5, 1])
    density = _initial_centroids(values, 10, "density", rng)
    assert (density < -0.89).sum() == 9  # follows the mass: nine tenths of it lie there
    np.testing.assert_allclose([(values <= c).mean() for c in density], (np.arange(10) + 0.5) / 10, atol=0.01)
    drawn = _initial_centroids(values, 20, "random", rng)
    assert np.isin(drawn, values).all() and len(np.unique(drawn)) == 20


def entropy_of(weight: Tensor) -> float:
    share = np.unique(weight.detach().numpy(), return_counts=True)[1] / weight.numel()
    return float(-(share * np.log2(share)).sum())


@pytest.mark.parametrize("entropy", [0.5, 2, 3.3, 7.9])
def test_entropy_spends_the_bits_asked_for_on_even_cells(net, entropy):
    before = net[3].weight.detach().clone()
    cluster(net, entropy=entropy)
    after = net[3].weight.detach()
    assert entropy - 0.1 < entropy_of(after) <= entropy
    values, index = after.unique(return_inverse=True)
    cells = [before[index == i] for i in range(len(values))]
    for value, cell in zip(values, cells, strict=True):
        assert cell.mean().item() == pytest.approx(value.item(), abs=1e-6)
    widths = [(cell.max() - cell.min()).item() for cell in cells[1:-1]]
    assert max(widths, default=0) < 1.001 * (before.max() - before.min()).item() / max(1, len(cells) - 2)


def test_entropy_is_worth_most_where_there_are_outliers():
    torch.manual_seed(0)
    wide = nn.Linear(300, 200)
    wide.weight.data = torch.distributions.StudentT(3.0).sample(wide.weight.shape)
    before, narrow = wide.weight.detach().clone(), copy.deepcopy(wide)
    cluster(wide, entropy=4)
    cluster(narrow, bits=4, init="density")
    assert 4 - 0.1 < entropy_of(wide.weight) <= 4
    assert 16 < len(wide.weight.unique()) <= 256
    # At least a bit: half the error, a quarter of its square.
    assert (wide.weight - before).norm() < 0.5 * (narrow.weight - before).norm()


def test_rare_values_are_joined_until_an_index_takes_a_byte():
    torch.manual_seed(0)
    layer = nn.Linear(300, 200)
    layer.weight.data = torch.distributions.StudentT(1.5).sample(layer.weight.shape)
    layer.weight.data[:2] = 0
    before = layer.weight.detach().clone()
    cluster(layer, entropy=6)
    after = layer.weight.detach()
    assert len(after.unique()) == 256
    assert torch.equal(after == 0, before == 0)
    order = before[2:].flatten().argsort()
    assert (after[2:].flatten()[order].diff() >= 0).all()  # cells are intervals
    assert before.max() - after.max() < 0.05 * before.max()  # what is rare and far out stays there


def test_what_has_few_bits_of_entropy_is_kept_exactly(net):
    nn.init.zeros_(net[5].weight)
    cluster(net, bits=3)
    before = copy.deepcopy(net)
    cluster(net, entropy=3)
    for i in (0, 3, 5):
        assert torch.equal(net[i].weight, before[i].weight)


@pytest.mark.parametrize("how", [{"bits": 3}, {"entropy": 3}])
def test_embedding_tables_share_values_too(how):
    torch.manual_seed(0)
    table = nn.Embedding(50, 12, padding_idx=0)
    cluster(nn.Sequential(table), **how)
    assert len(table.weight.unique()) <= (9 if "bits" in how else 256)
    assert not table.weight[0].any() and table.weight[1:].all()
    table(torch.tensor([3, 4])).sum().backward()
    assert table.parametrizations.weight.original.grad is not None


def test_pruning_a_shared_layer_and_sharing_it_again(net):
    cluster(net, bits=4)
    prune(net, 0.5)
    assert len(net[3].weight.unique()) <= 17
    cluster(net, bits=2)
    assert len(net[3].weight.unique()) <= 5 and zeros(net)["3"] >= 6 * 36 * 20


# errors


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: prune(net, 1.0), "sparsity of layer '0' is 1.0"),
        (lambda net: prune(net, {"3": -0.1}), "sparsity of layer '3' is -0.1"),
        (
            lambda net: prune(net, {"4": 0.5}),
            "'4' is not a linear, conv2d, LSTM or GRU layer; there are: 0, 3, 5",
        ),
        (lambda net: prune(net, 0.5, layers=["conv"]), "'conv' is not a linear, conv2d, LSTM or GRU layer"),
        (lambda net: prune(net, 0.5, scope="channel"), "scope is 'channel'"),
        (lambda net: prune(net), "a sparsity, or n and m"),
        (lambda net: prune(net, 0.5, n=2, m=4), "instead of sparsity"),
        (lambda net: prune(net, n=2), "n and m go together"),
        (lambda net: prune(net, n=4, m=4), "at least one is kept"),
        (lambda net: prune(net, {"3": 0.5}, block=(3, 7)), "blocks of 3x7 do not divide .* of layer '3'"),
        (lambda net: prune(net, n=1, m=64), "64 does not divide the . inputs of layer '0'"),
        (lambda net: prune(net, {"3": 0.5}, scope="global"), "goes with scope='layer'"),
        (lambda net: prune(net, 0.999), "leaves no weight in layer '0'"),
        (lambda net: cubic_sparsity(1, 0, 0.5), "steps is 0"),
        (lambda net: cluster(net), "one of bits, k and entropy"),
        (lambda net: cluster(net, bits=4, k=16), "one of bits, k and entropy"),
        (lambda net: cluster(net, bits=4, entropy=4), "one of bits, k and entropy"),
        (lambda net: cluster(net, entropy={"3": 8.5}), "entropy of layer '3' is 8.5"),
        (lambda net: cluster(net, entropy=0), "entropy of layer '0' is 0"),
        (lambda net: cluster(net, bits=9), "bits of layer '0' is 9"),
        (lambda net: cluster(net, k={"5": 0}), "k of layer '5' is 0"),
        (lambda net: cluster(net, bits=4, init="kmeans++"), "init is 'kmeans\\+\\+'"),
        (lambda net: prune(nn.ReLU(), 0.5), "ReLU has no linear, conv2d, LSTM or GRU layer"),
        (
            lambda net: prune(Tied(), {"one": 0.5, "two": 0.6}),
            "'one' and 'two' are tied to one weight: name one",
        ),
        (lambda net: deep_compression(net, pytest.fail, 0.5, bits=0), "bits of layer '0' is 0"),
        (lambda net: deep_compression(net, pytest.fail, {"9": 0.5}, bits=4), "'9' is not a linear"),
        (lambda net: deep_compression(net, pytest.fail, 0.5, bits=4, prune_steps=0), "prune_steps"),
    ],
)
def test_errors_name_the_layer_and_leave_the_module_as_it_was(net, call, message):
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=message):
        call(net)
    assert net.state_dict().keys() == before.keys()


def test_weights_that_are_not_finite(net):
    net[5].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="layer '5' has weights that are not finite"):
        cluster(net, bits=4)


# the chain


def test_deep_compression_calls_back_in_order(net):
    calls = []

    def train(module: nn.Module, stage: str, i: int) -> None:
        assert module is net
        calls.append((stage, i, zeros(net)["3"], len(net[3].weight.unique())))

    deep_compression(net, train, {"3": 0.9}, bits=3, prune_steps=3, finetune_steps=1, share_steps=2)
    n = 6 * 36 * 40
    assert [call[:2] for call in calls] == [
        ("prune", 0), ("prune", 1), ("prune", 2), ("finetune", 0), ("share", 0), ("share", 1)
    ]  # fmt: skip
    assert [call[2] for call in calls] == [round(cubic_sparsity(i, 3, 0.9) * n) for i in (1, 2, 3, 3, 3, 3)]
    assert all(call[3] > 9 for call in calls[:4]) and all(call[3] <= 9 for call in calls[4:])
    assert len(net[5].weight.unique()) <= 8


def test_deep_compression_with_global_scope(net):
    deep_compression(net, lambda *_: None, 0.8, bits=4, scope="global", prune_steps=2)
    assert sum(zeros(net).values()) == round(0.8 * (54 + 6 * 36 * 40 + 400))


def test_digits_keep_their_accuracy():
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
    held_out = torch.arange(len(x)) % 4 == 0

    def train(net: nn.Module, lr: float = 2e-3, epochs: int = 4) -> None:
        optimizer = torch.optim.Adam(net.parameters(), lr=lr)
        for _ in range(epochs):
            for part in torch.randperm(int((~held_out).sum())).split(64):
                optimizer.zero_grad()
                F.cross_entropy(net(x[~held_out][part]), y[~held_out][part]).backward()
                optimizer.step()

    def accuracy(net: nn.Module) -> float:
        return 100 * (net(x).argmax(1) == y)[held_out].double().mean().item()

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    train(net, epochs=20)
    before = accuracy(net)
    deep_compression(net, lambda net, stage, _: train(net, 5e-4 if stage == "share" else 2e-3), 0.85, bits=4)
    assert before > 95
    assert accuracy(net) > before - 1.5
    assert len(net[0].weight.unique()) <= 17 and sparsity_of(net)["0"] == pytest.approx(0.85, abs=1e-3)


# it stays an ordinary module


class Negated(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return -weight


@pytest.fixture
def compressed(net) -> nn.Sequential:
    prune(net, {"3": 0.9, "5": 0.5})
    cluster(net, bits={"3": 4, "0": 3})
    return net


def test_copies_are_independent(compressed):
    twin = copy.deepcopy(compressed)
    assert torch.equal(twin(X), compressed(X))
    step(twin, torch.optim.SGD(twin.parameters(), lr=0.1))
    assert not torch.equal(twin(X), compressed(X))
    assert len(twin[3].weight.unique()) <= 17 and zeros(twin)["3"] == zeros(compressed)["3"]


def test_clustering_a_pruned_copy_leaves_the_original(net):
    prune(net, 0.5)
    expected = net(X)
    twin = cluster(copy.deepcopy(net), bits=2)
    assert torch.equal(net(X), expected) and not torch.equal(twin(X), expected)


def test_other_parametrizations_are_kept_by_prune_and_baked_by_cluster(net):
    parametrize.register_parametrization(net[3], "weight", Negated())
    nn.utils.parametrizations.weight_norm(net[5])
    prune(net, 0.5)
    assert zeros(net)["3"] == 6 * 36 * 20 and zeros(net)["5"] == 200
    signs = net[3].weight.sign()
    cluster(net, bits=8)
    assert torch.equal(net[3].weight.sign(), signs) and zeros(net)["5"] == 200
    step(net, torch.optim.SGD(net.parameters(), lr=0.1))
    assert len(net[5].weight.unique()) <= 256


def test_state_dict_round_trip(compressed, tmp_path):
    twin = copy.deepcopy(compressed)
    for parameter in twin.parameters():
        nn.init.normal_(parameter)
    torch.save(compressed.state_dict(), tmp_path / "net.pt")
    twin.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert torch.equal(twin(X), compressed(X))


def test_assignment_projects_onto_the_set(compressed):
    weight = compressed[3].weight.detach().clone()
    compressed[3].weight = weight * 2
    torch.testing.assert_close(compressed[3].weight, weight * 2)


@pytest.mark.parametrize("strict", [False, True])
def test_exports(compressed, strict):
    program = torch.export.export(
        compressed.eval(), (X,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=strict
    )
    assert torch.equal(program.module()(X[:2]), compressed(X[:2]))


class TiedTable(nn.Module):
    """A table, and an output layer tied to it."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.between, self.out = nn.Embedding(30, 16), nn.Linear(16, 16), nn.Linear(16, 30)
        self.out.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.between(self.words(ids)))


@pytest.mark.parametrize(
    "how",
    [
        lambda net: prune(net, 0.5),
        lambda net: prune(net, 0.5, layers=["out"], calibration=[torch.arange(30)[None]], progress=False),
        lambda net: cluster(net, bits=3, progress=False),
        lambda net: product_quantize(net, {"words": 8}, codewords=9, progress=False),
        lambda net: half(net),
        lambda net: quantize_weights(net, 4, group=None),
        lambda net: quant_noise(net, "int4", 0.5),
        lambda net: cluster(prune(net, 0.5), bits=3, progress=False),
    ],
)
def test_tied_layers_are_compressed_once_and_stay_tied(how):
    torch.manual_seed(0)
    net = TiedTable()
    dense = net.words.weight.detach().clone()
    count = len(list(net.parameters()))
    net(torch.arange(30)[None]).sum().backward()  # as in training: a gradient of the weight as it is now
    how(net)
    net.eval()
    for module in (net, copy.deepcopy(net)):
        assert torch.equal(module.words.weight, module.out.weight)
        assert len(list(module.parameters())) == count
        optimizer = torch.optim.SGD(module.parameters(), 1.0)
        before = module.words.weight.detach().clone()
        module(torch.arange(30)[None]).square().mean().backward()
        optimizer.step()
        assert torch.equal(module.words.weight, module.out.weight)
        assert not torch.equal(module.words.weight, before)
    if any(isinstance(part, QuantNoise) for part in net.modules()):
        remove_quant_noise(net)
        assert type(net.words) is nn.Embedding and net.words.weight is net.out.weight
    else:
        assert not torch.equal(before, dense)
