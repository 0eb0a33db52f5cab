import math
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from underdraw import images
from underdraw.annotators import Depth, Normal, extract, normals
from underdraw.data.scenes import Views, render, sample
from underdraw.errors import ConfigError

VIEW = 50.0


def rays(height: int, width: int, view: float = VIEW) -> tuple[Tensor, Tensor]:
    """x / z (right) and y / z (down) of every pixel."""
    step = 2 * math.tan(math.radians(view) / 2) / min(height, width)
    u = (torch.arange(width) + 0.5 - width / 2) * step
    v = (torch.arange(height) + 0.5 - height / 2) * step
    return u.expand(height, width), v[:, None].expand(height, width)


def plane(normal: tuple[float, float, float], height: int = 40, width: int = 56) -> Tensor:
    """Distances along the axis of a plane 4 ahead that faces (right, up, viewer)."""
    right, up, viewer = normal
    u, v = rays(height, width)
    return (-4 * viewer / (right * u - up * v - viewer))[None, None]


def decoded(maps: Tensor) -> Tensor:
    return functional.normalize(maps * 2 - 1, dim=1)


def angles(found: Tensor, truth: Tensor) -> Tensor:
    """Degrees between two fields of unit vectors B×3×H×W."""
    return torch.rad2deg((found * truth).sum(1).clamp(-1, 1).acos())


@pytest.mark.parametrize(
    ("normal", "look"),
    [
        ((0.0, 0.0, 1.0), (0.5, 0.5, 1.0)),
        ((0.0, 0.8, 0.6), (0.5, 0.9, 0.8)),
        ((-0.6, 0.0, 0.8), (0.8, 0.5, 0.9)),
        ((0.6, 0.0, 0.8), (0.2, 0.5, 0.9)),
    ],
)
def test_planes_are_exact_and_normalbae_s_red_faces_left(
    normal: tuple[float, float, float], look: tuple[float, float, float]
) -> None:
    found = Normal(distance=True, view=VIEW)(plane(normal))
    assert_close(found, torch.tensor(look).reshape(1, 3, 1, 1).expand_as(found), atol=2e-3, rtol=0)


def test_conventions_differ_in_signs_alone() -> None:
    wall = plane((-0.48, 0.6, 0.64))
    expected = {"bae": (0.74, 0.8, 0.82), "opengl": (0.26, 0.8, 0.82), "directx": (0.26, 0.2, 0.82)}
    for convention, colour in expected.items():
        look = Normal(convention=convention, distance=True, view=VIEW)
        assert look(wall)[0, :, 20, 20].tolist() == pytest.approx(colour, abs=0.005)
        assert ("left" in look.meaning.polarity) == (convention == "bae")


def test_units_of_distance_do_not_matter() -> None:
    for unit in (0.001, 1000.0):
        assert_close(Normal(distance=True)(plane((0, 0.8, 0.6)) * unit), Normal(distance=True)(plane((0, 0.8, 0.6))))


def test_nearness_needs_only_its_ends() -> None:
    distances = plane((0.2, 0.3, 0.933))
    near, far = float(distances.min()), float(distances.max())
    found = Normal(near=near, far=far, view=VIEW)(Depth(distance=True)(distances))
    assert angles(decoded(found), decoded(Normal(distance=True, view=VIEW)(distances))).max() < 0.1


def test_ends_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'near' \(5\) must be less than 'far' \(3\)"):
        Normal(near=5)


def test_a_ball_is_round_and_its_outline_does_not_smear() -> None:
    u, v = rays(96, 96)
    centre, radius = 3.0, 1.0
    length = 1 + u**2 + v**2
    root = centre**2 - length * (centre**2 - radius**2)
    depth = torch.where(root >= 0, (centre - root.clamp(min=0).sqrt()) / length, 8.0)
    truth = torch.stack([u * depth, -v * depth, centre - depth]) / radius
    off = angles(normals(1 / depth[None, None], VIEW), truth[None])
    wall = angles(normals(1 / depth[None, None], VIEW), torch.tensor([0.0, 0, 1]).reshape(1, 3, 1, 1))
    ball = (root > 0.5)[None]
    assert off[ball].mean() < 0.5 and off[ball].max() < 3
    assert wall[(root < 0)[None]].mean() < 1


def test_a_crop_narrows_the_view() -> None:
    """The same wall, whole and cut to a square from the middle: the same normals where both see it."""
    wall = plane((0.3, 0.6, 0.742), 48, 96)
    cut = Normal(distance=True, view=VIEW).map(wall, (48, 48))
    whole = Normal(distance=True, view=VIEW).map(wall)
    assert_close(cut, whole[..., 24:72], atol=1e-4, rtol=0)
    upright = Normal(distance=True, view=VIEW).map(wall, (24, 48))
    assert_close(upright, whole[..., 36:60], atol=1e-4, rtol=0)


def test_smoothing_calms_noise_and_eight_bit_steps() -> None:
    noise = 1 + 0.01 * torch.randn(1, 1, 40, 56, generator=torch.Generator().manual_seed(0))
    wall = plane((0, 0.6, 0.8))
    truth = decoded(Normal(distance=True, view=VIEW)(wall))
    rough = angles(decoded(Normal(distance=True, view=VIEW)(wall * noise)), truth).mean()
    calm = angles(decoded(Normal(distance=True, view=VIEW, smooth=3)(wall * noise)), truth).mean()
    assert calm < rough / 4
    steps = (Depth(distance=True)(wall) * 30).round() / 255
    look = Normal(near=float(wall.min()), far=float(wall.max()), view=VIEW)
    rough = angles(decoded(replace(look, smooth=0.0)(steps)), truth).mean()
    assert angles(decoded(look(steps)), truth).mean() < rough / 2


def by_hand(field: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """ControlNet 1.0's normals from inverse depth as its paper's code defines them, as RGB in its network's order."""
    padded = np.pad(field, 1, mode="reflect")
    right, rows = padded[:, 2:] - padded[:, :-2], 2 * padded[:, 1:-1] + (padded[:, :-2] + padded[:, 2:])
    x, y = 2 * right[1:-1] + (right[:-2] + right[2:]), rows[2:] - rows[:-2]
    background = (field - field.min()) / (field - field.min()).max() < threshold
    x[background] = y[background] = 0
    length = np.sqrt(x * x + y * y + np.float32(2 * np.pi) ** 2)
    parts = [np.float32(2 * np.pi) / length, y / length, x / length]
    return np.stack([(part * 127.5 + 127.5).clip(0, 255).astype(np.uint8) for part in parts], -1)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.4])
def test_midas_equals_controlnet_1_0(threshold: float) -> None:
    disparity = np.nan_to_num(skimage.data.stereo_motorcycle()[2], posinf=0)[::2, ::2]
    field = torch.from_numpy((disparity * 40).round())[None, None]  # whole numbers: no rounding in the slopes
    look = Normal(convention="midas", relief=0, bg_threshold=threshold)
    assert np.array_equal(images.to_uint8(look(field)[0]), by_hand(field[0, 0].numpy(), threshold))
    assert not look.meaning.differentiable and look.meaning.polarity.startswith("red is towards")


def test_midas_of_a_stretched_map_has_relief() -> None:
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 48, 64)
    found = Normal(convention="midas", smooth=0)(ramp)[0, :, 20]
    assert found[:, 5].tolist() == pytest.approx([1, 127 / 255, 127 / 255]), "the background is flat"
    assert found[2, 40] > 0.95 and found[0, 40] < 0.6
    soft = Normal(convention="midas", relief=50, smooth=0)(ramp)[0, :, 20]
    assert soft[0, 40] > found[0, 40]


def room_error(view: Views, angle: float) -> tuple[float, float]:
    """Mean degrees off the truth, away from where depth or the truth jump, and the share of pixels that is."""
    found = decoded(Normal(convention="opengl", distance=True, view=angle)(view.depth))
    truth = decoded(view.normal)
    spans = [_span(truth).amax(1) < 0.25, _span(1 / view.depth).amax(1) * view.depth[:, 0] < 0.1]
    things = _span(view.instance[:, None].float()).amax(1) == 0
    smooth = spans[0] & spans[1] & things
    return float(angles(found, truth)[smooth].mean()), float(smooth.float().mean())


def _span(field: Tensor) -> Tensor:
    """Greatest minus least within two pixels."""
    return functional.max_pool2d(field, 5, 1, 2) + functional.max_pool2d(-field, 5, 1, 2)


def test_a_room_s_normals_come_from_its_depth() -> None:
    scene = sample(1)
    error, share = room_error(render([scene], (128, 128)), scene.camera.angle)
    assert error < 1 and share > 0.4


@pytest.mark.slow
def test_rooms_normals_come_from_their_depth() -> None:
    scenes = [sample(seed) for seed in range(200)]
    found = [room_error(render([scene], (256, 256)), scene.camera.angle) for scene in scenes]
    errors, shares = zip(*found, strict=True)
    print(f"normals of {len(scenes)} rooms: {np.mean(errors):.3f}° on {np.mean(shares):.0%}, worst {max(errors):.2f}°")
    assert np.mean(errors) < 3 and np.mean(shares) > 0.6


def test_the_map_has_the_drawing_s_size() -> None:
    assert extract("normal", plane((0, 0.6, 0.8)), (33, 57), distance=True).shape == (1, 3, 57, 33)
