"""The four primitives: rays, normals and distances agree with each other."""

import pytest
import torch
from torch import Tensor

from underdraw.data.scenes.parts import BLOCK, ELLIPSOID, FRUSTUM, ROUND
from underdraw.data.scenes.shapes import Size, Triple, distance, first_hit, normal

CASES = {
    "box": (BLOCK, (0.5, 0.3, 0.7, 1.0)),
    "pyramid": (BLOCK, (0.5, 0.4, 0.5, 0.0)),
    "tapered block": (BLOCK, (0.4, 0.3, 0.6, 0.7)),
    "ball": (ELLIPSOID, (0.4, 0.4, 0.4, 0.0)),
    "ellipsoid": (ELLIPSOID, (0.5, 0.2, 0.35, 0.0)),
    "cylinder": (FRUSTUM, (0.3, 0.3, 0.5, 0.0)),
    "cone": (FRUSTUM, (0.4, 0.0, 0.5, 0.0)),
    "lamp shade": (FRUSTUM, (0.4, 0.2, 0.3, 0.0)),
    "capsule": (ROUND, (0.2, 0.2, 0.5, 0.0)),
    "limb": (ROUND, (0.3, 0.15, 0.4, 0.0)),
}
RAYS = 4000


def _rays() -> tuple[Tensor, Tensor]:
    """Origins on a sphere of radius 3 around the primitive, directions to points near it."""
    generator = torch.Generator().manual_seed(0)
    origin = torch.nn.functional.normalize(torch.randn(3, RAYS, generator=generator, dtype=torch.float64), dim=0) * 3
    target = torch.rand(3, RAYS, generator=generator, dtype=torch.float64) * 1.6 - 0.8
    return origin, target - origin


def _triple(v: Tensor) -> Triple:
    return v[0], v[1], v[2]


def _size(values: tuple[float, float, float, float]) -> Size:
    a, b, c, d = torch.tensor(values, dtype=torch.float64)
    return a, b, c, d


@pytest.mark.parametrize("name", CASES)
def test_hits_lie_on_the_surface_and_face_the_ray(name: str) -> None:
    shape, values = CASES[name]
    origin, way = _rays()
    t = first_hit(shape, _triple(origin), _triple(way), _size(values))
    hit = t.isfinite()
    assert 0.1 < hit.double().mean() < 0.9
    point = origin[:, hit] + way[:, hit] * t[hit]
    assert distance(shape, _triple(point), _size(values)).abs().max() < 1e-6
    n = torch.stack(normal(shape, _triple(point), _size(values)))
    assert (n.norm(dim=0) - 1).abs().max() < 1e-6
    assert ((n * way[:, hit]).sum(0) < 1e-6).double().mean() > 0.999


@pytest.mark.parametrize("name", CASES)
def test_nothing_lies_before_the_first_hit(name: str) -> None:
    shape, values = CASES[name]
    origin, way = _rays()
    t = first_hit(shape, _triple(origin), _triple(way), _size(values)).clamp_max(2.5)
    steps = torch.linspace(0, 0.999, 200, dtype=torch.float64)[:, None, None]
    before = origin + way * (steps * t)
    inside = distance(shape, _triple(before.transpose(0, 1)), _size(values)) < -1e-9
    assert not inside.any()


@pytest.mark.parametrize("name", CASES)
def test_the_normal_is_the_gradient_of_the_distance(name: str) -> None:
    shape, values = CASES[name]
    origin, way = _rays()
    t = first_hit(shape, _triple(origin), _triple(way), _size(values))
    point = (origin + way * t)[:, t.isfinite()].requires_grad_(True)
    distance(shape, _triple(point), _size(values)).sum().backward()
    assert point.grad is not None
    gradient = torch.nn.functional.normalize(point.grad, dim=0)
    n = torch.stack(normal(shape, _triple(point.detach()), _size(values)))
    assert ((gradient * n).sum(0) > 0.999).double().mean() > 0.995


def test_distances_are_true_or_cautious_outside() -> None:
    """On balls and round cones the distance is exact; nowhere may it exceed the truth (except for flat ellipsoids)."""
    generator = torch.Generator().manual_seed(1)
    point = torch.rand(3, 500, generator=generator, dtype=torch.float64) * 3 - 1.5
    ball = distance(ELLIPSOID, _triple(point), _size(CASES["ball"][1]))
    assert torch.allclose(ball, point.norm(dim=0) - 0.4)
    origin, way = _rays()
    for name in ("box", "pyramid", "cylinder", "cone", "capsule", "limb"):
        shape, values = CASES[name]
        t = first_hit(shape, _triple(origin), _triple(way), _size(values))
        surface = (origin + way * t)[:, t.isfinite()]
        nearest = torch.cdist(point.t(), surface.t()).amin(1)
        assert (distance(shape, _triple(point), _size(values)) <= nearest + 1e-9).all()
