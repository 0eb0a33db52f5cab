import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from underdraw.annotators import ANNOTATORS
from underdraw.evaluation.measures import LESS_IS_BETTER, angle, measures, miou, rmse, ssim


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ANNOTATORS)
def test_every_condition_has_a_measure_that_knows_a_perfect_map(kind: str) -> None:
    part = ANNOTATORS[kind]
    truth = (noise(2, 3 if part.meaning.channels == 3 else 1, 24, 24) > 0.7).float()
    for name, score in measures(part.condition).items():
        perfect, other = score(truth, truth), score(truth.flip(-1), truth)
        assert perfect.shape == (2,)
        if name in LESS_IS_BETTER:
            assert perfect.max() < 1e-2 < other.min()
        else:
            assert perfect.min() > 0.999 > other.max()


def test_rmse_and_angle_are_what_they_say() -> None:
    truth = noise(3, 2, 8, 8) * 0.5
    assert_close(rmse(truth + 0.25, truth), torch.full((3,), 0.25))
    up = torch.tensor([0.5, 0.5, 1.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    tilted = torch.tensor([0.5 + 0.5 * math.sin(0.3), 0.5, 0.5 + 0.5 * math.cos(0.3)]).view(1, 3, 1, 1).expand_as(up)
    assert_close(angle(tilted, up), torch.tensor([math.degrees(0.3)]), atol=1e-3, rtol=0)


def test_ssim_is_one_for_equal_and_low_for_unrelated_maps() -> None:
    first, second = noise(1, 1, 32, 32), noise(1, 1, 32, 32, seed=1)
    assert ssim(first, first) == 1
    assert ssim(first, second) < 0.2
    assert ssim(first, (first + 0.05).clamp(0, 1)) > 0.8


def test_miou_counts_labels_not_colours() -> None:
    """Half of one label is drawn as the other: IoU 1/2 and 2/3."""
    truth = torch.zeros(1, 3, 4, 4)
    truth[:, 0, :2] = 1
    drawn = truth.clone()
    drawn[:, 0, 0] = 0.1  # a row that is nearer to the other colour
    assert_close(miou(drawn, truth), torch.tensor([(1 / 2 + 2 / 3) / 2]))
    assert miou(truth * 0.9, truth) == 1
