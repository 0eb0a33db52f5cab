"""On the base that ships: masks are obeyed, what is kept is kept, borders and seams do not show."""

from typing import Any

import pytest
import torch
from torch import Tensor

import underdraw
from underdraw import Control
from underdraw.annotators import build
from underdraw.annotators.measures import edge_scores
from underdraw.data.scenes import records
from underdraw.generation import Drawn, Studio, Tiles

SIZE = (64, 64)


@pytest.fixture(scope="module")
def studio() -> Studio:
    return underdraw.load(device="cpu")


@pytest.fixture(scope="module")
def rooms() -> list[Any]:
    """Rooms that no training has seen."""
    return list(records(range(400, 408), SIZE))


def edges(pictures: Tensor) -> Tensor:
    return build("canny")(pictures)


def f1(drawn: list[Drawn], wanted: Tensor, where: Tensor | float = 1.0) -> float:
    """Of the edges in a region, averaged over pictures."""
    found = edges(torch.stack([one.picture for one in drawn]))
    return float(edge_scores(found * where, wanted * where).f1.mean())


def test_two_controls_in_disjoint_masks_are_both_obeyed(studio: Studio, rooms: list[Any]) -> None:
    """The left half follows one picture and the right half another, each more than the other's."""
    first = [room.image for room in rooms]
    second = first[4:] + first[:4]
    left = torch.zeros(1, 64, 64)
    left[..., :32] = 1
    controls = [Control("canny", first, mask=left), Control("canny", second, mask=1 - left)]
    drawn = studio.draw([room.text for room in rooms], controls=controls, seeds=range(8), steps=8)
    for half, own, other in ((left, first, second), (1 - left, second, first)):
        obeyed, crossed = (f1(drawn, edges(torch.stack(pictures)), half) for pictures in (own, other))
        assert obeyed > crossed + 0.15


def neighbours(picture: Tensor) -> tuple[Tensor, Tensor]:
    """How far values are from those to their right, and from those below."""
    return (picture[..., 1:] - picture[..., :-1]).abs(), (picture[..., 1:, :] - picture[..., :-1, :]).abs()


def test_an_inpainting_keeps_the_rest_and_its_border_does_not_show(studio: Studio, rooms: list[Any]) -> None:
    """Largest change outside: 0. Gradient across the mask's border: at most 1.1 times that of the inside."""
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:48, 20:44] = 1
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = (((rows - 34) ** 2 + (columns - 30) ** 2) < 15**2).float()[None]
    given = [room.image for room in rooms]
    masks = [mask] * 4 + [disc] * 4
    drawn = studio.draw([room.text for room in rooms], image=given, mask=masks, seeds=range(8), steps=10)
    border, inside = [], []
    for one, picture, hole in zip(drawn, given, masks, strict=True):
        before = torch.round(picture * 255) / 255
        assert float(((one.picture - before) * (hole == 0)).abs().max()) == 0
        assert float(((one.picture - before) * hole).abs().mean()) > 0.01
        for steps, here, there in zip(
            neighbours(one.picture),
            (hole[..., 1:], hole[..., 1:, :]),
            (hole[..., :-1], hole[..., :-1, :]),
            strict=True,
        ):
            border.append(steps[(here != there).expand_as(steps)])
            inside.append(steps[(here * there > 0).expand_as(steps)])
    assert torch.cat(border).mean() <= 1.1 * torch.cat(inside).mean()


@pytest.mark.slow
def test_two_controls_on_one_figure(studio: Studio, rooms: list[Any]) -> None:
    """Edges and depth together are obeyed at least as well as each alone, and far better than none."""
    prompts = [room.text for room in rooms]
    wanted = edges(torch.stack([room.image for room in rooms]))
    canny = Control("canny", [room.image for room in rooms], 0.8)
    depth = Control("depth", [room.maps["depth"] for room in rooms], 0.8, is_map=True)
    scores = {
        name: f1(studio.draw(prompts, controls=controls, seeds=range(8), steps=15), wanted)
        for name, controls in {"none": [], "canny": [canny], "depth": [depth], "both": [canny, depth]}.items()
    }
    assert scores["both"] > scores["none"] + 0.2 and scores["both"] > max(scores["canny"], scores["depth"]) - 0.02
    assert scores["depth"] > scores["none"] + 0.05


def unevenness(pictures: Tensor, seams: list[int]) -> float:
    """How much neighbours differ across some rows and columns, compared with all others."""
    across, down = neighbours(pictures)
    steps = across.mean((0, 1, 2)) + down.mean((0, 1, 3))
    others = [place for place in range(len(steps)) if place not in seams]
    return float(steps[seams].mean() / steps[others].mean())


@pytest.mark.slow
def test_the_seams_of_a_tiled_picture_do_not_show(studio: Studio) -> None:
    """Four times the area, in windows of the base's own size: across seams neighbours differ as elsewhere, to 10 %."""
    large = list(records(range(310, 322), (128, 128)))
    control = Control("canny", [room.image for room in large])
    windows: dict[str, Any] = {"size": (128, 128), "tiling": {"width": 64, "height": 64}}
    drawn = studio.draw([room.text for room in large], controls=[control], seeds=range(12), steps=12, **windows)
    spans = [span for window in Tiles(64, 64).windows((32, 32), 4) for span in window]
    seams = sorted({4 * side - 1 for span in spans for side in (span.start, span.stop)} - {-1, 127})
    assert seams == [31, 63, 95]
    assert 0.9 < unevenness(torch.stack([one.picture for one in drawn]), seams) < 1.1
    assert f1(drawn, edges(torch.stack([room.image for room in large]))) > 0.4
