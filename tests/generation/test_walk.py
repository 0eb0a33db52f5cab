"""Forward to noise and back."""

import pytest
import torch
from torch.testing import assert_close

from underdraw.errors import ConfigError
from underdraw.generation import Studio, walk, walk_sheet


def test_the_walk(studio: Studio) -> None:
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    way = walk(studio.backbone, picture, steps=12, stops=5)
    assert way.timesteps[0] == 0 and way.timesteps[-1] == 999 and list(way.timesteps) == sorted(set(way.timesteps))
    assert way.shares[0] == 1 and list(way.shares) == sorted(way.shares, reverse=True)
    assert way.pixels.shape == way.latents.shape == way.states.shape == way.estimates.shape == (5, 3, 32, 48)
    assert_close(way.pixels[0], picture[0])
    assert_close(way.states[-1], way.latents[-1])  # the way back begins where the way there ended
    assert_close(way.states[0], way.estimates[0])  # and ends at the last estimate
    drift = (way.pixels - picture).abs().mean((1, 2, 3))
    assert bool((drift.diff() > 0).all()), "ever farther from the picture"
    assert walk_sheet(way, "title").shape[0] == 3


def test_too_few_steps(studio: Studio) -> None:
    with pytest.raises(ConfigError, match="steps = 3 are too few to look 7 times"):
        walk(studio.backbone, torch.zeros(1, 3, 32, 32), steps=3)
