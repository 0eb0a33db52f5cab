import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.testing import assert_close

from underdraw.annotators import ANNOTATORS, build, masked
from underdraw.annotators.heads import heatmaps
from underdraw.annotators.measures import (
    DIRECTIONS,
    LESS_IS_BETTER,
    angle,
    colour_distance,
    depth_error,
    edge_scores,
    measures,
    miou,
    outside,
    pck,
    pixels_right,
    rmse,
    seam,
    ssim,
)

Edges = NDArray[np.bool_]


def near(edges: Edges, others: Edges, tolerance: int) -> list[bool]:
    """For each edge pixel, by looking at every other one: is any at most `tolerance` away?"""
    places = np.argwhere(others)
    return [
        bool(len(places)) and int(np.abs(places - here).max(axis=1).min()) <= tolerance for here in np.argwhere(edges)
    ]


def by_hand(drawn: Edges, truth: Edges, tolerance: int) -> tuple[float, float, float]:
    if not drawn.any() and not truth.any():
        return 1.0, 1.0, 1.0
    hits, found = near(drawn, truth, tolerance), near(truth, drawn, tolerance)
    precision = sum(hits) / len(hits) if hits else 0.0
    recall = sum(found) / len(found) if found else 0.0
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0


@pytest.mark.parametrize("tolerance", [0, 1, 2])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.3])
def test_edge_scores_equal_brute_force(tolerance: int, density: float) -> None:
    chance = np.random.default_rng(round(100 * density) + tolerance)
    drawn = chance.random((6, 13, 17)) < 0.08
    truth = chance.random((6, 13, 17)) < density
    drawn[0] = False
    scores = edge_scores(torch.from_numpy(drawn)[:, None].float(), torch.from_numpy(truth)[:, None].float(), tolerance)
    expected = torch.tensor([by_hand(d, t, tolerance) for d, t in zip(drawn, truth, strict=True)], dtype=torch.float32)
    assert_close(torch.stack([scores.precision, scores.recall, scores.f1], 1), expected, rtol=1e-6, atol=1e-6)


def line(column: int, height: int = 8) -> Tensor:
    edges = torch.zeros(1, 1, 8, 8)
    edges[..., :height, column] = 1
    return edges


def test_a_line_one_pixel_off_is_right_only_with_tolerance() -> None:
    assert edge_scores(line(3), line(4), 0).f1.item() == 0
    assert edge_scores(line(3), line(4), 1).f1.item() == 1
    assert edge_scores(line(3), line(5), 1).f1.item() == 0


def test_half_a_line_is_precise_but_forgetful() -> None:
    scores = edge_scores(line(3, height=4), line(3), 0)
    assert scores.precision.item() == 1
    assert scores.recall.item() == 0.5
    assert math.isclose(scores.f1.item(), 2 / 3, rel_tol=1e-6)


def test_empty_maps() -> None:
    nothing = torch.zeros(1, 1, 8, 8)
    assert edge_scores(nothing, nothing).f1.item() == 1
    assert edge_scores(nothing, line(3)).f1.item() == 0
    assert edge_scores(line(3), nothing).f1.item() == 0


def test_depth_error_is_what_it_says() -> None:
    truth = torch.rand(3, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    assert_close(depth_error(truth, truth), torch.zeros(3))
    assert_close(depth_error(truth + 0.25, truth), torch.full((3,), 0.25))
    assert depth_error(0.5 * truth, truth, "scale").max() < 1e-6
    assert depth_error(0.5 * truth + 0.2, truth, "scale").min() > 1e-2
    assert depth_error(0.5 * truth + 0.2, truth, "scale and shift").max() < 1e-6


def test_alignment_equals_least_squares() -> None:
    generator = torch.Generator().manual_seed(1)
    drawn, truth = torch.rand(2, 1, 1, 8, 9, generator=generator)
    design = np.stack([drawn.numpy().ravel(), np.ones(72)], 1).astype(np.float64)
    target = truth.numpy().ravel().astype(np.float64)
    for columns, align in ((1, "scale"), (2, "scale and shift")):
        found = np.linalg.lstsq(design[:, :columns], target, rcond=None)[0]
        expected = np.sqrt(np.mean((design[:, :columns] @ found - target) ** 2))
        assert math.isclose(depth_error(drawn, truth, align).item(), expected, rel_tol=1e-5)  # type: ignore[arg-type]


def test_a_constant_map_can_be_aligned() -> None:
    flat, truth = torch.zeros(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    assert_close(depth_error(flat, truth, "scale and shift"), truth.std(correction=0)[None])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ANNOTATORS)
def test_every_condition_has_a_measure_that_knows_a_perfect_map(kind: str) -> None:
    part = ANNOTATORS[kind]
    truth = (noise(2, 3 if part.meaning.channels == 3 else 1, 24, 24) > 0.7).float()
    if part.condition in ("pose", "inpaint", "shuffle"):
        return  # what these compare is no pair of such maps; their tests are below
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


def painted(labels: NDArray[np.int64], colours: Tensor) -> Tensor:
    """B×H×W labels as B×3×H×W colours."""
    return colours[torch.from_numpy(labels)].movedim(-1, 1)


def test_miou_equals_a_confusion_matrix() -> None:
    chance = np.random.default_rng(0)
    colours = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.2, 0.2, 1], [1, 1, 1]])
    wanted, found = chance.integers(0, 4, (3, 9, 7)), chance.integers(0, 5, (3, 9, 7))
    expected = []
    for one, other in zip(found, wanted, strict=True):
        table = np.zeros((5, 5))
        np.add.at(table, (other.ravel(), one.ravel()), 1)
        shown = table.sum(1) > 0
        expected.append((np.diag(table) / (table.sum(0) + table.sum(1) - np.diag(table)))[shown].mean())
    maps = painted(found, colours), painted(wanted, colours)
    assert_close(miou(*maps), torch.tensor(expected, dtype=torch.float32))
    assert_close(pixels_right(*maps), torch.from_numpy((wanted == found).mean((1, 2))).float())


def test_labels_are_told_by_their_colours() -> None:
    """What is a little off is the same label; a colour that the true map does not show is no label of it."""
    truth = torch.zeros(1, 3, 4, 4)
    truth[:, 0, :2] = 1
    assert miou((truth * 0.95), truth) == 1
    other = truth.clone()
    other[:, 1, 0] = 1  # a row of another label: yellow
    assert_close(miou(other, truth), torch.tensor([(1 / 2 + 1) / 2]))
    assert_close(pixels_right(other, truth), torch.tensor([0.75]))
    one = torch.full((1, 3, 4, 4), 0.3)
    assert miou(one, one) == 1 and miou(1 - one, one) == 0, "one class only"


def test_ssim_is_scikit_image_s() -> None:
    first, second = noise(2, 1, 24, 20), noise(2, 1, 24, 20, seed=1)
    told = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [
        structural_similarity(one[0].numpy(), two[0].numpy(), **told) for one, two in zip(first, second, strict=True)
    ]
    assert_close(ssim(first, second), torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0)
    empty = torch.zeros(1, 1, 24, 20)
    assert ssim(empty, empty) == 1 > ssim(second[:1], empty) >= 0


def test_colours_are_compared_wherever_they_stand() -> None:
    """Against scipy's distance along each direction; the same pixels in another order are no distance away."""
    first, second = noise(2, 3, 7, 5), noise(2, 3, 7, 5, seed=1) ** 2
    ways = DIRECTIONS.numpy() / np.linalg.norm(DIRECTIONS.numpy(), axis=1, keepdims=True)
    assert ways.shape == (13, 3) and len(np.unique(np.abs(ways @ ways.T) > 0.999, axis=0)) == 13
    for row in range(2):
        one, two = (maps[row].flatten(1).double().numpy() for maps in (first, second))
        expected = np.mean([wasserstein_distance(way @ one, way @ two) for way in ways])
        assert math.isclose(colour_distance(first, second)[row].item(), expected, rel_tol=1e-5)
    shuffled = first.flatten(2)[..., torch.randperm(35, generator=torch.Generator().manual_seed(0))].view_as(first)
    assert colour_distance(shuffled, first).max() < 1e-7


def test_inpainting_is_judged_outside_of_the_hole_and_at_its_rim() -> None:
    picture, mask = noise(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 3:6] = 1
    truth = build("inpaint")(masked(picture, mask))
    assert outside(picture, truth) == 0
    inside = torch.where(mask > 0, 1 - picture, picture)
    assert outside(inside, truth) == 0, "what is drawn in the hole is free"
    known = (mask[0, 0] == 0).numpy()
    wrong = (picture + 0.2 * noise(1, 3, 8, 8, seed=2)).clamp(0, 1)
    expected = np.sqrt(((wrong - picture)[0].numpy()[:, known] ** 2).mean())
    assert math.isclose(outside(wrong, truth).item(), expected, rel_tol=1e-5)
    pixels, drawn, steps = picture[0].numpy(), inside[0].numpy(), []
    for row in range(2, 6):
        steps += [
            np.abs(drawn[:, row, 3] - pixels[:, row, 2]).mean(),
            np.abs(drawn[:, row, 5] - pixels[:, row, 6]).mean(),
        ]
    for column in range(3, 6):
        steps += [np.abs(drawn[:, 2, column] - pixels[:, 1, column]).mean()]
        steps += [np.abs(drawn[:, 5, column] - pixels[:, 6, column]).mean()]
    assert math.isclose(seam(inside, truth).item(), np.mean(steps), rel_tol=1e-5)
    whole = torch.full((1, 3, 8, 8), -1.0)
    assert outside(picture, whole) == 0 and seam(picture, whole) == 0, "all of it is a hole"


def people(*bodies: Mapping[int, tuple[float, float, float]]) -> Tensor:
    """1×P×18×3 from points by their places."""
    found = torch.zeros(1, len(bodies), 18, 3)
    for row, body in enumerate(bodies):
        for place, point in body.items():
            found[0, row, place] = torch.tensor(point)
    return found


def test_points_are_found_within_a_tenth_of_the_box() -> None:
    body = {0: (20.5, 5.5, 2), 2: (10.5, 20.5, 2), 5: (30.5, 20.5, 2), 10: (20.5, 45.5, 2), 4: (12.5, 30.5, 1)}
    wanted = people(body)
    heat = heatmaps(wanted, (48, 56))
    assert heat.shape == (1, 18, 56, 48) and heat[0, 0, 5, 20] == 1
    assert pck(heat, wanted) == 1
    near = heatmaps(people(body | {0: (24.5, 5.5, 2)}), (48, 56))
    assert pck(near, wanted) == 1, "the box is 40 high: 4 pixels are within reach"
    far = heatmaps(people(body | {0: (25.5, 5.5, 2), 2: (16.5, 20.5, 2)}), (48, 56))
    assert pck(far, wanted) == 0.5
    assert pck(torch.zeros_like(heat), wanted) == 0
    assert pck(torch.where(torch.arange(18).view(1, 18, 1, 1) == 4, 0.0, heat), wanted) == 1, "what is hidden is free"
    flat = torch.full((1, 18, 56, 48), 0.9)
    assert pck(flat, wanted) == 0


def test_of_several_people_each_is_looked_for_in_his_own_box() -> None:
    left = {k: (5.5 + k, 10.5 + 2 * k, 2.0) for k in range(6)}
    right = {k: (40.5 + k, 12.5 + 2 * k, 2.0) for k in range(6)}
    wanted = people(left, right)
    heat = heatmaps(wanted, (64, 64))
    assert pck(heat, wanted) == 1
    assert pck(heatmaps(people(left), (64, 64)), wanted) == 0.5


def test_nobody_is_found_where_nobody_is_wanted() -> None:
    nobody = torch.zeros(2, 3, 18, 3)
    heat = torch.zeros(2, 18, 16, 16)
    heat[1, 4, 3, 3] = 0.9
    assert pck(heat, nobody).tolist() == [1, 0]
