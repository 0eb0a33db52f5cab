"""What is reused is not computed, what changes is; off by default; a recipe carries it."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw import Control
from underdraw.config import parse
from underdraw.errors import ConfigError
from underdraw.generation import Drawn, Reuse, Studio, read_drawing, verify
from underdraw.generation.guidance import Guidance
from underdraw.generation.reuse import Recall
from underdraw.generation.sampler import denoise, encode_prompts, start
from underdraw.model import Control as Steering

PICTURE = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
SIZE = (32, 32)


def steering(studio: Studio, kind: str = "canny", **knobs: Any) -> Steering:
    return Steering(studio.net(kind), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)), **knobs)


def drawn(studio: Studio, pull: Guidance | None = None, **told: Any) -> Tensor:
    pull = pull or encode_prompts(studio.backbone, ["a", "b"], SIZE, 4.0)
    noise, _ = start(studio.backbone, SIZE, [1, 2])
    return list(denoise(studio.backbone, pull, noise, steps=6, **told))[-1].latents


class Counted:
    """How often the first half of the base, its second half and a net's branch were asked, by layers of theirs."""

    def __init__(self, studio: Studio) -> None:
        self.calls = {"encoder": 0, "decoder": 0, "canny": 0, "depth": 0}
        unet = studio.backbone.unet
        nets = {kind: studio.net(kind).branch.conv_in for kind in ("canny", "depth")}
        self.hooks = [
            layer.register_forward_hook(lambda *_, name=name: self._count(name))
            for name, layer in {"encoder": unet.conv_in, "decoder": unet.conv_out, **nets}.items()
        ]

    def _count(self, name: str) -> None:
        self.calls[name] += 1

    def close(self) -> dict[str, int]:
        for hook in self.hooks:
            hook.remove()
        return {name: calls for name, calls in self.calls.items() if calls}


@pytest.mark.parametrize(
    ("reuse", "calls"),
    [
        (Reuse(), {"encoder": 6, "decoder": 6, "canny": 6}),
        (Reuse(control=2), {"encoder": 6, "decoder": 6, "canny": 3}),
        (Reuse(encoder=3), {"encoder": 2, "decoder": 6, "canny": 6}),
        (Reuse(control=3, encoder=2), {"encoder": 3, "decoder": 6, "canny": 2}),
        (Reuse(control=2, encoder=2, after=0.5), {"encoder": 4, "decoder": 6, "canny": 4}),
    ],
)
def test_what_is_reused_is_not_computed(studio: Studio, reuse: Reuse, calls: dict[str, int]) -> None:
    exact = drawn(studio, controls=[steering(studio)])
    counted = Counted(studio)
    reused = drawn(studio, controls=[steering(studio)], reuse=reuse)
    assert counted.close() == calls
    assert torch.equal(reused, exact) == reuse.nothing
    assert float((reused - exact).abs().mean()) < 0.5 * float(exact.abs().mean())


def test_a_control_whose_span_begins_is_computed(studio: Studio) -> None:
    """One net hears one map in the first half and another in the second: neither is taken for the other."""
    first, second = steering(studio, span=(0.0, 0.5)), steering(studio, span=(0.5, 1.0))
    counted = Counted(studio)
    drawn(studio, controls=[first, second], reuse=Reuse(control=10, encoder=10))
    assert counted.close() == {"encoder": 2, "decoder": 6, "canny": 2}


def test_fewer_rungs_are_computed_anew(studio: Studio) -> None:
    pull = encode_prompts(studio.backbone, ["a", "b"], SIZE, 4.0, interval=(0.0, 0.5))
    counted = Counted(studio)
    drawn(studio, pull, controls=[steering(studio)], reuse=Reuse(control=10, encoder=10))
    assert counted.close() == {"encoder": 2, "decoder": 6, "canny": 2}


def test_weights_over_time_are_followed(studio: Studio) -> None:
    """What a net says is kept, not how loud it is heard: at a time curve of 0 it is silent."""
    fading = steering(studio, times=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    once = steering(studio, span=(0.0, 1 / 6))
    assert_close(
        drawn(studio, controls=[fading], reuse=Reuse(control=6)), drawn(studio, controls=[once]), atol=1e-5, rtol=1e-5
    )


def test_a_batch_is_its_singles(studio: Studio) -> None:
    reuse = Reuse(control=2, encoder=3, merge=0.5)
    together = drawn(studio, controls=[steering(studio), steering(studio, "depth")], reuse=reuse)
    for place, (prompt, seed) in enumerate((("a", 1), ("b", 2))):
        noise, _ = start(studio.backbone, SIZE, [seed])
        pull = encode_prompts(studio.backbone, [prompt], SIZE, 4.0)
        controls = [steering(studio), steering(studio, "depth")]
        alone = list(denoise(studio.backbone, pull, noise, steps=6, controls=controls, reuse=reuse))[-1].latents
        assert_close(together[place], alone[0], atol=1e-4, rtol=1e-4)


def test_places_that_are_merged(studio: Studio) -> None:
    """Where the network attends at its widest, on both sides and in the net; not in the steps that are spared."""
    seen: list[int] = []
    blocks = (studio.backbone.unet.down_blocks, studio.backbone.unet.up_blocks)
    layers = [layer for part in blocks for name, layer in part.named_modules() if name.endswith("attn1.to_q")]
    hooks = [layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1])) for layer in layers]
    exact, merged = (
        drawn(studio, controls=[steering(studio)], reuse=Reuse(merge=share, after=0.5)) for share in (0.0, 0.5)
    )
    for hook in hooks:
        hook.remove()
    attended = seen[len(seen) // 2 :]
    assert set(attended[: len(attended) // 2]) == {16} and set(attended[len(attended) // 2 :]) == {8}
    assert not torch.equal(merged, exact)
    assert float((merged - exact).abs().mean()) < 0.5 * float(exact.abs().mean())
    assert torch.equal(drawn(studio, controls=[steering(studio)], reuse=Reuse(merge=0.5, after=0.5)), merged)
    with pytest.raises(ConfigError, match=r"merge=0\.5 is for --backend torch"):
        Recall(Reuse(merge=0.5), cast(Any, object()), studio.backbone.unet, [])


def test_a_recipe_carries_it(studio: Studio, tmp_path: Path) -> None:
    def draw(**settings: Any) -> Drawn:
        return studio.draw("a", controls=[Control("canny", PICTURE)], seeds=3, steps=6, **settings)[0]

    plain, reused = draw(), draw(reuse={"control": 2, "encoder": 2, "merge": 0.3})
    assert "reuse" not in plain.drawing.model_dump() and not torch.equal(plain.picture, reused.picture)
    reused.save(tmp_path / "out.png")
    assert read_drawing(tmp_path / "out.png").reuse == Reuse(control=2, encoder=2, merge=0.3)
    assert verify(studio, tmp_path / "out.png").finding == "exact"


@pytest.mark.parametrize("told", [{"control": 0}, {"encoder": 11}, {"decoder": 2}, {"after": 1.5}, {"merge": 0.8}])
def test_what_makes_no_sense_is_refused(told: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(told))):
        parse(Reuse, told, "the drawing")
