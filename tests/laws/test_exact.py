"""Law 7. What is hoisted as exact is equal, bit for bit; what is silent is not computed at all."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from underdraw.model import BRANCHES, Control, ControlConfig, Text, build, predict, projected_once, speaking

Inputs = tuple[Tensor, Tensor, Text | None]


def awake(models: Any, unet: Any, **branch: Any) -> Any:
    net = build(unet, 8, ControlConfig.model_validate({"branch": branch}))
    models.awaken(net)
    return net.requires_grad_(False)


@pytest.mark.parametrize("hint", ["code", "paper"])
@pytest.mark.parametrize("branch", BRANCHES.names())
def test_a_hint_embedded_once_is_a_hint_embedded_again(models: Any, branch: str, hint: str) -> None:
    unet = models.unet("sd15")
    control = Control(awake(models, unet, kind=branch, hint=hint), models.condition("sd15"))
    prepared, embedded = control.prepared(), []
    control.net.branch.controlnet_cond_embedding.register_forward_hook(lambda *_: embedded.append(1))
    for seed in (1, 2):
        inputs: Inputs = models.inputs(unet, seed=seed)
        assert torch.equal(predict(unet, *inputs, controls=[prepared]), predict(unet, *inputs, controls=[control]))
    assert len(embedded) == 2  # by the unprepared control alone


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_text_projected_once_is_text_projected_again(models: Any, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unet = models.unet(family)
    net = awake(models, unet)
    control = Control(net, models.condition(family)).prepared()
    sample, timestep, text = models.inputs(unet)
    _, _, other = models.inputs(unet, seed=9)
    steps = [(timestep, text), (timestep // 2, text), (timestep, other), (timestep // 2, other)]
    again = [predict(unet, sample, when, words, controls=[control]) for when, words in steps]

    projections = {
        id(layer)
        for module in (unet, net)
        for name, layer in module.named_modules()
        if name.endswith(("attn2.to_k", "attn2.to_v"))
    }
    computed: list[int] = []
    stock = nn.Linear.forward

    def counted(self: nn.Linear, states: torch.Tensor) -> torch.Tensor:
        computed.extend([id(self)] if id(self) in projections else [])
        return stock(self, states)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    with projected_once(unet, net):
        once = [predict(unet, sample, when, words, controls=[control]) for when, words in steps]
    assert sorted(computed) == sorted([*projections, *projections])  # each layer once for each of the two texts
    assert all(torch.equal(left, right) for left, right in zip(once, again, strict=True))
    assert torch.equal(predict(unet, sample, timestep, text, controls=[control]), again[0])
    assert len(computed) > 2 * len(projections)  # outside the block it projects again


def test_projecting_once_leaves_the_layers_as_they_were(models: Any) -> None:
    unet = models.unet("sd15")
    layer = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k
    other = unet.down_blocks[0].attentions[1].transformer_blocks[0].attn2.to_k
    wrapped = other.forward = lambda states: nn.Linear.forward(other, states)  # as offloading hooks do
    with pytest.raises(RuntimeError, match="halfway"), projected_once(unet):
        raise RuntimeError("halfway")
    assert "forward" not in vars(layer)
    assert other.forward is wrapped


def test_drawings_that_take_turns_leave_nothing_behind(models: Any) -> None:
    unet = models.unet("sd15")
    layer = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k
    first, second = projected_once(unet), projected_once(unet)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    states = torch.randn(1, 4, layer.in_features)
    assert torch.equal(layer(states), nn.Linear.forward(layer, states))
    second.__exit__(None, None, None)
    assert "forward" not in vars(layer)


@pytest.mark.parametrize("silent", [{"weight": 0.0}, {"weight": torch.zeros(2)}, {"curve": (0.0,) * 13}])
def test_a_silent_control_is_not_computed(models: Any, silent: dict[str, Any]) -> None:
    unet = models.unet("sd15")
    net = awake(models, unet)
    inputs: Inputs = models.inputs(unet)
    computed: list[int] = []
    net.branch.register_forward_hook(lambda *_: computed.append(1))
    net.branch.controlnet_cond_embedding.register_forward_hook(lambda *_: computed.append(1))
    control = Control(net, models.condition("sd15"), **silent)
    assert torch.equal(predict(unet, *inputs, controls=[control]), predict(unet, *inputs))
    assert speaking([control], 0, 1) == ()
    assert computed == []


@pytest.mark.parametrize("span", [(0.0, 1.0), (0.2, 0.7), (0.5, 0.5), (0.0, 0.3), (0.9, 1.0)])
def test_spans_are_those_of_diffusers(models: Any, span: tuple[float, float]) -> None:
    control = Control(awake(models, models.unet("sd15"), kind="mlp"), models.condition("sd15"), span=span)
    for steps in (1, 7, 20):
        theirs = [1.0 - float(step / steps < span[0] or (step + 1) / steps > span[1]) for step in range(steps)]
        assert [float(control.active(step, steps)) for step in range(steps)] == theirs
        assert [len(speaking([control], step, steps)) for step in range(steps)] == theirs


def test_a_conditional_control_rides_on_one_half_only(models: Any) -> None:
    net = awake(models, models.unet("sd15"), kind="mlp")
    both = Control(net, models.condition("sd15"))
    one = Control(net, models.condition("sd15"), side="conditional")
    assert speaking([both, one], 0, 4) == (both, one)
    assert speaking([both, one], 0, 4, conditional=False) == (both,)
