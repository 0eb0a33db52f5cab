import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from underdraw import images
from underdraw.annotators import PALETTES, Box, Boxes, Layout, extract, read_boxes
from underdraw.data.scenes import palette, render, sample
from underdraw.errors import InputError

ADE = PALETTES["ade20k"]


def colour(label: int) -> Tensor:
    return torch.tensor(ADE.colours[label]).reshape(3, 1, 1) / 255


def coco(**changes: Any) -> dict[str, Any]:
    boxes: list[tuple[list[float], int]] = [([4, 6, 20, 10], 7), ([10, 8, 4, 4], 3), ([30.4, 20, 9.8, 15], 3)]
    return {
        "images": [{"id": 1, "width": 60, "height": 40}],
        "annotations": [{"image_id": 1, "bbox": box, "category_id": category, "iscrowd": 0} for box, category in boxes],
        "categories": [{"id": 7, "name": "sofa"}, {"id": 3, "name": "thingamajig"}],
    } | changes


def write(path: Path, told: object) -> Path:
    path.write_text(json.dumps(told))
    return path


def test_coco_boxes_are_drawn_in_their_classes_colours_the_small_ones_in_front(tmp_path: Path) -> None:
    look = Boxes()
    found = look.map(look.read(write(tmp_path / "a.json", coco())))
    assert look.extent(look.read(tmp_path / "a.json")) == (60, 40) and found.shape == (1, 3, 40, 60)
    expected = torch.zeros(3, 40, 60)
    expected[:, 6:16, 4:24] = colour(ADE.names.index("sofa"))
    expected[:, 8:12, 10:14] = colour(0)
    expected[:, 20:35, 30:40] = colour(0)
    assert torch.equal(found[0], expected)


def test_outlines_leave_what_is_inside(tmp_path: Path) -> None:
    found = Boxes(outline=2).map(read_boxes(write(tmp_path / "a.json", coco()), ADE))[0]
    assert torch.equal(found[:, 6:8, 4:24], colour(ADE.names.index("sofa")).expand(3, 2, 20))
    assert torch.equal(found[:, 8:12, 10:14], colour(0).expand(3, 4, 4)), "too small for a hole"
    assert found[:, 22:33, 32:38].sum() == 0 and (found[:, 33:35, 30:40] == colour(0)).all()


def test_boxes_lie_where_the_drawing_shows_their_things() -> None:
    layout = Layout((100, 50), (Box(40, 10, 60, 30, 3), Box(0, 0, 20, 50, 4)))
    found = Boxes().map(layout, (100, 100))[0]
    assert torch.equal((found == colour(3)).all(0).nonzero().aminmax(dim=0).min, torch.tensor([20, 30]))
    assert torch.equal((found == colour(3)).all(0).nonzero().aminmax(dim=0).max, torch.tensor([59, 69]))
    assert not (found == colour(4)).all(0).any(), "the left edge is cut off"


def test_a_label_map_s_areas_become_boxes() -> None:
    ids = torch.full((1, 1, 40, 60), 255.0)
    ids[..., 5:15, 5:15] = 3
    ids[..., 5:15, 30:34] = 3
    ids[..., 20:30, 10:20].fill_(7).masked_fill_(torch.eye(10).bool().logical_not(), 255)  # a diagonal
    ids[..., 39, 59] = 9
    found = Boxes(smallest=0.003)(ids)
    expected = torch.zeros(3, 40, 60)
    expected[:, 5:15, 5:15] = expected[:, 5:15, 30:34] = colour(3)
    assert torch.equal(found[0], expected), "specks are left out"


def test_the_rooms_things_lie_in_their_boxes() -> None:
    """Each thing that is seen in one piece has a box around it in its class's colour."""
    view = render([sample(1)], (96, 96))
    look = Boxes(labels=True, palette="rooms", outline=1)
    found = look(palette(view.semantic))
    kinds = [kind for kind in view.semantic.unique().tolist() if kind > 2]
    shown = {tuple(one) for one in images.to_uint8(found[0]).reshape(-1, 3).tolist()}
    expected = {PALETTES["rooms"].colours[k] for k in kinds if (view.semantic == k).float().mean() > 0.01}
    assert expected and len(expected & shown) >= len(expected) - 1
    assert shown <= {*PALETTES["rooms"].colours, (0, 0, 0)}


def test_a_photograph_s_patches_are_counted_from_the_largest() -> None:
    picture = torch.full((1, 3, 48, 64), 0.9)
    picture[..., 10:30, 5:25] = torch.tensor([0.8, 0.1, 0.1]).reshape(3, 1, 1)
    picture[..., 20:30, 40:50] = torch.tensor([0.1, 0.1, 0.7]).reshape(3, 1, 1)
    found = Boxes()(picture)[0]
    for label, (top, bottom, left, right) in enumerate([(10, 30, 5, 25), (20, 30, 40, 50)]):
        place = (found == colour(label)).all(0).nonzero()
        assert (place.amin(0) - torch.tensor([top, left])).abs().max() <= 1
        assert (place.amax(0) - torch.tensor([bottom - 1, right - 1])).abs().max() <= 1


def test_labels_are_not_averaged_and_pictures_are_seen_whole() -> None:
    ids = (torch.arange(64) // 8).float().expand(1, 1, 64, 64)
    found = extract("boxes", ids, (40, 40), largest=1.0)
    shown = {tuple(one) for one in images.to_uint8(found[0]).reshape(-1, 3).tolist()}
    assert shown == set(ADE.colours[:8])


def test_nothing_found_is_black() -> None:
    assert Boxes()(torch.full((1, 3, 16, 16), 0.5)).sum() == 0
    assert Boxes()(torch.full((1, 1, 16, 16), 255.0)).sum() == 0
    assert np.array_equal(Boxes().map(Layout((16, 9), ())).shape, (1, 3, 9, 16))


@pytest.mark.parametrize(
    "told",
    [
        [],
        {},
        coco(images=[]),
        coco(images=[{"id": 1, "width": 3, "height": 40}]),
        coco(annotations=[{"bbox": [0, 0, 5], "category_id": 1}]),
        coco(annotations=[{"bbox": [0, 0, 0, 5], "category_id": 1}]),
        coco(annotations=[{"bbox": [0, 0, float("nan"), 5], "category_id": 1}]),
        coco(annotations=[{"bbox": [0, 0, 4, 5]}]),
    ],
)
def test_files_that_are_no_boxes_of_one_picture_are_refused(tmp_path: Path, told: object) -> None:
    with pytest.raises(InputError, match=r"a\.json"):
        read_boxes(write(tmp_path / "a.json", told), ADE)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="not a COCO file"):
        read_boxes(tmp_path / "a.json", ADE)
    with pytest.raises(InputError, match="cannot read"):
        read_boxes(tmp_path / "missing.json", ADE)


def test_crowds_are_left_out(tmp_path: Path) -> None:
    told = coco(annotations=[{"bbox": [1, 2, 5, 5], "category_id": 3, "iscrowd": 1}])
    assert read_boxes(write(tmp_path / "a.json", told), ADE) == Layout((60, 40), ())
