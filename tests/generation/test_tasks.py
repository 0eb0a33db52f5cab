"""Tasks as values: where a drawing starts, what stays, what is seen beside; and the picture that is left."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel
from torch import Tensor
from torch.testing import assert_close

from underdraw.errors import ConfigError, InputError
from underdraw.generation import Studio, Task, blend, build_scheduler, decode_frame, draw, make_task
from underdraw.generation.schedulers import noise_share, noised
from underdraw.generation.tasks import latent_mask
from underdraw.model import Backbone, Control

SIZE = (32, 32)
PICTURE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(1, 1, 32, 32)
MASK[..., 8:20, 12:28] = 1


def last(studio: Studio, task: Task, steps: int = 6, **more: Any) -> Tensor:
    return list(draw(studio.backbone, ["x"], [0], SIZE, steps=steps, scheduler="euler", task=task, **more))[-1].latents


def test_the_empty_task_is_from_noise(studio: Studio) -> None:
    assert torch.equal(last(studio, Task()), last(studio, make_task(studio.backbone, SIZE)))


def test_what_is_kept_is_there_at_the_end(studio: Studio) -> None:
    """To the bit in the latents, whatever was drawn; and the control is heard where it is drawn."""
    task = make_task(studio.backbone, SIZE, PICTURE, MASK)
    control = Control(studio.net("canny"), PICTURE)
    free, bound = last(studio, task), last(studio, task, controls=[control])
    assert task.mask is not None and task.clean is not None
    kept = (task.mask == 0).expand_as(free)
    assert torch.equal(free[kept], task.clean[kept]) and torch.equal(bound[kept], task.clean[kept])
    assert (free - bound)[~kept].abs().mean() > 1e-2


def test_on_the_way_the_rest_is_as_noisy_as_the_step(studio: Studio) -> None:
    task = make_task(studio.backbone, (32, 32), PICTURE, MASK)
    assert task.clean is not None
    path = build_scheduler("dpm++ 2m", studio.backbone.scheduler, 6)
    frames = list(draw(studio.backbone, ["x"], [0], SIZE, steps=6, task=task))
    for step, frame in enumerate(frames[:-1]):
        share = noise_share(path, step + 1)
        noise = (frame.latents - (1 - share) ** 0.5 * task.clean) / share**0.5
        outside = noise[(latent_mask(MASK, 4) == 0).expand_as(noise)]
        assert 0.7 < float(outside.std()) < 1.3


def test_a_mask_for_latents_misses_no_pixel() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 7, 9], mask[..., 20, 20] = 0.1, 1
    small = latent_mask(mask, 4)
    assert small.shape == (1, 1, 8, 8) and small.sum() == 2 and small[0, 0, 1, 2] == small[0, 0, 5, 5] == 1


@pytest.mark.parametrize("content", ["fill", "latent noise", "latent nothing"])
def test_what_was_in_the_mask_is_gone(studio: Studio, content: Any) -> None:
    """What stands there instead is the colours around it, noise, or nothing; the rest starts as it was."""
    path = build_scheduler("ddim", studio.backbone.scheduler, 6)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(6))
    task = make_task(studio.backbone, SIZE, PICTURE, MASK, 0.5, content=content)
    begun = task.start(path, noise, task.first(path))
    assert task.mask is not None and task.clean is not None
    usual = noised(path, task.clean, noise, task.first(path))
    if content == "fill":
        other = make_task(studio.backbone, SIZE, torch.where(MASK > 0, 0.5, PICTURE), MASK, 0.5, content=content)
        assert other.clean is not None and torch.equal(task.clean, other.clean) and torch.equal(begun, usual)
        return
    inside = noise if content == "latent noise" else torch.zeros_like(noise)
    expected = torch.where(task.mask > 0, noised(path, inside, noise, task.first(path)), usual)
    assert_close(begun, expected)


def test_tasks_combine(studio: Studio) -> None:
    """A second start over the same kept picture: what a high-resolution pass over an inpainting does."""
    task = make_task(studio.backbone, SIZE, PICTURE, MASK)
    other = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    again = replace(task, clean=other, kept=task.clean, strength=0.5)
    drawn = last(studio, again)
    assert task.clean is not None and task.mask is not None
    kept = (task.mask == 0).expand_as(drawn)
    assert torch.equal(drawn[kept], task.clean[kept])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda backbone: Task(torch.zeros(1), 0.0), "strength 0 makes no sense"),
        (lambda backbone: Task(torch.zeros(1), 1.5), "strength 1.5 makes no sense"),
        (lambda backbone: make_task(backbone, SIZE, mask=MASK), "there is no picture; give one"),
        (
            lambda backbone: list(draw(backbone, ["x"], [0], SIZE, steps=5, task=Task(torch.zeros(1, 4, 8, 8), 0.1))),
            "leaves none",
        ),
    ],
)
def test_what_makes_no_sense(studio: Studio, make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(studio.backbone)


def wide(studio: Studio, channels: int) -> Backbone:
    unet = UNet2DConditionModel.from_config({**studio.backbone.unet.config, "in_channels": channels})
    return replace(studio.backbone, unet=unet.requires_grad_(False))


@pytest.mark.parametrize(("channels", "beside"), [(4, None), (8, 4), (9, 5)])
def test_bases_that_see_more_are_shown_something_without_a_picture(
    studio: Studio, channels: int, beside: int | None
) -> None:
    """All is to be drawn, over a grey picture."""
    backbone = wide(studio, channels)
    task = make_task(backbone, SIZE)
    assert (None if task.beside is None else task.beside.shape[1]) == beside and task.clean is None
    if channels == 9:
        assert task.beside is not None and bool((task.beside[:, 0] == 1).all())
    control = Control(studio.net("canny"), PICTURE)
    frames = list(draw(backbone, ["x"], [0], SIZE, steps=2, controls=[control]))
    assert frames[-1].latents.shape == (1, 4, 8, 8)


def test_an_unknown_base_is_refused(studio: Studio) -> None:
    with pytest.raises(ConfigError, match=r"has 5 input channels; known are 4 \(plain\), 8"):
        make_task(wide(studio, 5), SIZE)


def test_a_control_of_the_plain_base_steers_one_for_inpainting(studio: Studio, base: Path, tmp_path: Path) -> None:
    """Its folder is read, too: only what is beside the latents differs."""
    backbone = wide(studio, 9)
    text, tokenizer = backbone.text_encoders[0], backbone.tokenizers[0]
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(dict(backbone.scheduler))
    parts = (backbone.vae, text, tokenizer, backbone.unet, scheduler, None, None)
    StableDiffusionInpaintPipeline(*parts, requires_safety_checker=False).save_pretrained(tmp_path / "nine")
    (tmp_path / "nine" / "controlnet-canny").symlink_to(base / "controlnet-canny")
    nine = Studio.open(str(tmp_path / "nine"), "cpu")
    control = Control(nine.net("canny"), PICTURE)
    free, bound = (
        list(draw(nine.backbone, ["x"], [0], SIZE, steps=2, controls=controls))[-1].latents
        for controls in ((), (control,))
    )
    assert (free - bound).abs().mean() > 1e-3


def test_outside_the_mask_nothing_changes() -> None:
    drawn = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mask = MASK.expand(2, -1, -1, -1).clone()
    mask[1, :, 8:20, 12:16] = 0.5
    for softness in (0, 1, 4, 20):
        made = blend(drawn, PICTURE.expand(2, -1, -1, -1), mask, softness)
        outside = (mask == 0).expand_as(made)
        assert torch.equal(made[outside], PICTURE.expand(2, -1, -1, -1)[outside]), softness
    hard = blend(drawn, PICTURE.expand(2, -1, -1, -1), mask, 0)
    assert torch.equal(hard[0][(mask[0] == 1).expand_as(hard[0])], drawn[0][(mask[0] == 1).expand_as(drawn[0])])
    assert_close(hard[1, :, 10, 13], (PICTURE[0, :, 10, 13] + drawn[1, :, 10, 13]) / 2)


def test_a_whole_mask_takes_the_drawing_whole() -> None:
    drawn = torch.rand(1, 3, 32, 32)
    assert torch.equal(blend(drawn, PICTURE, torch.ones(1, 1, 32, 32)), drawn)


def test_the_border_does_not_jump() -> None:
    """A dark drawing in a bright picture: a hard border is a step of 0.8, a soft one none."""
    made = {s: blend(torch.full((1, 3, 32, 32), 0.1), torch.full((1, 3, 32, 32), 0.9), MASK, s) for s in (0, 4)}
    steps = {s: float((picture[..., 1:] - picture[..., :-1]).abs().max()) for s, picture in made.items()}
    assert steps[0] == pytest.approx(0.8) and steps[4] <= 0.8 / 4 + 1e-6
    assert made[4][0, 0, 14, 20] == pytest.approx(0.1)


def test_a_drawing_that_starts_from_a_picture_looks_like_it(studio: Studio) -> None:
    """The less strength the more: measured on the decoded pictures."""
    shown = studio.backbone.decode_latents(studio.backbone.encode_picture(PICTURE).mean)

    def apart(strength: float) -> float:
        latents = last(studio, make_task(studio.backbone, SIZE, PICTURE, strength=strength), 10, guidance=1.0)
        return float((decode_frame(studio.backbone, latents) - shown).abs().mean())

    assert apart(0.1) < apart(0.5) < apart(1.0)
