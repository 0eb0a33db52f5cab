"""What a LoRA adds to one layer: the algebra of every kind, against weights written out."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from underdraw.model.adapters import Adapter, Hadamard, Kronecker, LowRank, adapter

OUT, IN, RANK = 12, 8, 3
LAYERS: dict[str, Any] = {
    "linear": lambda: nn.Linear(IN, OUT),
    "1×1": lambda: nn.Conv2d(IN, OUT, kernel_size=1),
    "3×3": lambda: nn.Conv2d(IN, OUT, kernel_size=3, padding=1, stride=2),
    "circular": lambda: nn.Conv2d(IN, OUT, kernel_size=3, padding=1, padding_mode="circular"),
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def factors(kind: str, kernel: tuple[int, ...]) -> dict[str, Tensor]:
    """Some of every kind, for a layer OUT × IN × kernel, in the shapes that files have."""
    side = kernel or ()
    ones = [1] * len(side)
    inner = IN * (side[0] * side[1] if side else 1)
    flat = {
        "hada_w1_a": drawn(OUT, RANK),
        "hada_w1_b": drawn(RANK, inner, seed=1),
        "hada_w2_a": drawn(OUT, RANK, seed=2),
        "hada_w2_b": drawn(RANK, inner, seed=3),
    }
    return {
        "lora": {"down": drawn(RANK, IN, *side), "up": drawn(OUT, RANK, *ones, seed=1)},
        "tucker": {
            "down": drawn(RANK, IN, *ones),
            "up": drawn(OUT, RANK, *ones, seed=1),
            "mid": drawn(RANK, RANK, *(side or ()), seed=2),
        },
        "loha": flat,
        "lokr": {"lokr_w1": drawn(4, 2), "lokr_w2_a": drawn(3, RANK, seed=1), "lokr_w2_b": drawn(RANK, inner // 2)},
        "lokr whole": {"lokr_w1": drawn(4, 2), "lokr_w2": drawn(3, 4, *side, seed=1)},
    }[kind]


def loud(layer: nn.Module, change: Tensor, x: Tensor) -> Tensor:
    """The layer with the change written into its weight, minus itself."""
    weight: Any = layer.weight
    before = layer(x)
    kept = weight.detach().clone()
    weight.data.add_(change)
    after: Tensor = layer(x) - before
    weight.data.copy_(kept)
    return after


@pytest.mark.parametrize("magnitude", [None, "output", "input"])
@pytest.mark.parametrize("kind", ["lora", "tucker", "loha", "lokr", "lokr whole"])
@pytest.mark.parametrize("shape", LAYERS)
def test_what_is_heard_is_the_change_of_the_weight(shape: str, kind: str, magnitude: str | None) -> None:
    torch.manual_seed(5)
    layer = LAYERS[shape]().requires_grad_(False)
    kernel = tuple(layer.weight.shape[2:])
    parts = factors(kind, kernel) | {"alpha": torch.tensor(1.5)}
    if magnitude is not None:
        size = (OUT, 1) if magnitude == "output" else (1, IN)
        parts["magnitude"] = drawn(*size, *[1] * len(kernel), seed=9).abs() + 0.5
    made = adapter(parts)
    assert made is not None and made.misfit(layer) is None
    x = drawn(2, 5, IN) if shape == "linear" else drawn(2, IN, 6, 4)
    assert_close(made(x, layer, 0.7), loud(layer, 0.7 * made.delta(layer.weight), x), rtol=1e-4, atol=1e-4)
    assert made.delta(layer.weight).abs().max() > 0.1
    assert {name: tensor.shape for name, tensor in made.factors().items()} == {n: t.shape for n, t in parts.items()}


def test_the_scale_is_alpha_by_rank() -> None:
    layer = nn.Linear(IN, OUT)
    parts = factors("lora", ())
    plain, scaled = LowRank(parts), LowRank(parts | {"alpha": torch.tensor(1.5, dtype=torch.float16)})
    assert_close(plain.delta(layer.weight), parts["up"] @ parts["down"])
    assert_close(scaled.delta(layer.weight), 0.5 * plain.delta(layer.weight))


def test_the_kinds_by_hand() -> None:
    layer = nn.Linear(IN, OUT)
    loha = factors("loha", ())
    first, second = (loha[f"hada_w{side}_a"] @ loha[f"hada_w{side}_b"] for side in (1, 2))
    assert_close(Hadamard(loha).delta(layer.weight), first * second)
    lokr = factors("lokr", ())
    by_hand = torch.cat(
        [torch.cat([w * (lokr["lokr_w2_a"] @ lokr["lokr_w2_b"]) for w in row], 1) for row in lokr["lokr_w1"]]
    )
    assert_close(Kronecker(lokr).delta(layer.weight), by_hand)
    assert Kronecker(factors("lokr whole", ()) | {"alpha": torch.tensor(7.0)}).scale == 1, "no factor, no rank"


def test_dora_sets_the_norm_of_every_output() -> None:
    layer = nn.Linear(IN, OUT)
    magnitude = torch.arange(1.0, OUT + 1)
    made = LowRank(factors("lora", ()) | {"magnitude": magnitude})
    assert_close((layer.weight + made.delta(layer.weight)).norm(dim=1), magnitude)


def test_the_published_count() -> None:
    """100×1024 at rank 8 is 8,992 parameters in place of 102,400."""
    made = LowRank.fresh(nn.Linear(100, 1024), rank=8)
    assert sum(parameter.numel() for parameter in made.parameters()) == 8 * (100 + 1024) == 8992
    assert all(parameter.requires_grad for parameter in made.parameters())


@pytest.mark.parametrize("shape", LAYERS)
def test_a_is_gaussian_and_b_is_zero(shape: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[shape]()
    made = LowRank.fresh(layer, rank=4096, alpha=2.0)
    assert not made.up.any()
    deviation = (3 * layer.weight[0].numel()) ** -0.5
    assert_close(float(made.down.detach().std()), deviation, rtol=0.02, atol=0)
    assert (made.down.detach().abs() > 3 * deviation).float().mean() > 5e-4, "a uniform start has no tails"
    assert made.scale == 2 / 4096


@pytest.mark.parametrize(
    ("parts", "layer", "words"),
    [
        ({"down": drawn(3, 8), "up": drawn(11, 3)}, nn.Linear(IN, OUT), "changes weights of (11, 8)"),
        ({"down": drawn(3, 9), "up": drawn(12, 3)}, nn.Linear(IN, OUT), "and the base has (12, 8)"),
        ({"down": drawn(4, 8), "up": drawn(12, 3)}, nn.Linear(IN, OUT), "factors that don't fit together"),
        ({"down": drawn(3, 8), "up": drawn(12, 3)}, nn.LayerNorm(8), "neither linear nor a convolution"),
        ({"down": drawn(3, 4, 1, 1), "up": drawn(12, 3, 1, 1)}, nn.Conv2d(8, 12, 1, groups=2), "grouped"),
        ({"down": drawn(3, 8), "up": drawn(12, 3), "magnitude": drawn(5)}, nn.Linear(IN, OUT), "5 magnitudes"),
    ],
)
def test_what_does_not_fit_says_why(parts: dict[str, Tensor], layer: nn.Module, words: str) -> None:
    assert words in str(LowRank(parts).misfit(layer))


def test_factors_of_no_kind() -> None:
    assert isinstance(adapter(factors("lora", ())), Adapter)
    for parts in ({"down": drawn(1, 1)}, {"alpha": drawn(1)}, {"lokr_w1": drawn(1, 1), "lokr_w2_a": drawn(1, 1)}, {}):
        assert adapter(parts) is None
    assert adapter(factors("lora", ()) | {"lokr_w1": drawn(1, 1)}) is None
