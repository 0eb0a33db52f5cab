"""Token merging: what looks alike attends as one, in each item for itself, and nowhere but at the widest level."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.model import ControlConfig, Quick, build, overlaid, predict
from underdraw.model.merged import MOST, match, merged

SIZE = (6, 5)


def features(batch: int = 2, width: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(batch, SIZE[0] * SIZE[1], width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [0.0, 0.3, MOST])
def test_every_place_goes_somewhere(share: float) -> None:
    """What is kept comes back as it was; a destination is the mean of what is in it, and all of them hear it."""
    given = features()
    merge = match(given, SIZE, share, step=3)
    fewer = merge.gather(given)
    assert fewer.shape[1] == 30 - int(share * 30)
    back = merge.spread(fewer)
    for item in range(2):
        kept = merge.kept[item]
        assert torch.equal(back[item, kept], given[item, kept])
        for number, place in enumerate(merge.destinations.tolist()):
            there = [place, *merge.moved[item][merge.into[item] == number].tolist()]
            assert_close(back[item, there], given[item, there].mean(0).expand(len(there), -1))


def test_the_likest_are_merged() -> None:
    """Surfaces of one value each come back as they were, whoever is a destination."""
    surfaces = features(1).repeat_interleave(3, 0)
    surfaces[:, :15], surfaces[:, 15:] = surfaces[:, :1].clone(), surfaces[:, 15:16].clone()
    for step in range(3):
        merge = match(surfaces, SIZE, MOST, step)
        assert_close(merge.spread(merge.gather(surfaces)), surfaces)
    assert len({tuple(match(surfaces, SIZE, MOST, step).destinations.tolist()) for step in range(8)}) > 4


def test_each_item_is_merged_as_alone() -> None:
    both = features()
    together, alone = match(both, SIZE, 0.5, 1), match(both[1:], SIZE, 0.5, 1)
    assert torch.equal(together.moved[1:], alone.moved) and torch.equal(together.into[1:], alone.into)


@pytest.mark.parametrize(("family", "transformers"), [("sd15", 2 + 3 + 2), ("sdxl", 2 + 3 + 2), ("pixels", 0)])
@torch.no_grad()
def test_the_widest_transformers_see_fewer_places(models: Any, family: str, transformers: int) -> None:
    """Those of the base on both sides and of the control's copy, and no others; the step decides who is merged."""
    unet = models.unet(family)
    net = build(unet, models.factor(family), ControlConfig())
    sample, timestep, text = models.inputs(unet)
    plain, clock = predict(unet, sample, timestep, text), [0]
    lays = merged(0.5, clock, unet, net)
    assert sum(name == "forward" and hasattr(thing, "to_q") for thing, name, _ in lays) == transformers
    seen: list[int] = []
    for name, layer in unet.named_modules():
        if name.endswith("attn1.to_q"):
            layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    with overlaid(lays):
        first = predict(unet, sample, timestep, text)
        clock[0] = 1
        second = predict(unet, sample, timestep, text)
    if not transformers:
        assert torch.equal(first, plain)
        return
    widest = {"sd15": 16 * 8, "sdxl": 8 * 4}[family]
    assert seen.count(widest // 2) == 2 * (transformers - 2) and widest not in seen
    assert not torch.equal(first, plain) and not torch.equal(first, second)
    assert float((first - plain).abs().mean()) < 0.3 * float(plain.abs().mean())


@torch.no_grad()
def test_it_lies_on_what_is_quick(models: Any) -> None:
    """Over packed layers and shared halves the same places are merged."""
    unet = models.unet("sd15")
    sample, _, text = models.inputs(unet)
    sample, when = torch.cat([sample[:1]] * 2), torch.tensor([801])
    lays = merged(0.5, [0], unet)
    with overlaid(lays):
        plain = predict(unet, sample, when[0], text)
    with Quick(when, torch.float32, unet).at(0), overlaid(lays):
        assert_close(predict(unet, sample, when[0], text), plain, atol=1e-5, rtol=1e-5)
