"""Maps of pictures of which more is known than they show."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from underdraw.annotators import ANNOTATORS, build, extract
from underdraw.annotators.skeleton import DOTS
from underdraw.data.batches import generators
from underdraw.data.folder import Record
from underdraw.data.known import bodies, condition_map, hole, origin
from underdraw.data.scenes import records
from underdraw.errors import InputError


def person(x: float = 8.0, seen: int = 18) -> list[list[float]]:
    """Eighteen points down a slope, the last ones hidden."""
    return [[x + k, 6.0 + 2 * k, 2.0 if k < seen else 1.0] for k in range(18)]


def record(**attributes: object) -> Record:
    draw = torch.Generator().manual_seed(0)
    maps = {"depth": torch.rand(1, 40, 48, generator=draw), "segmentation": torch.zeros(3, 40, 48)}
    return Record("one", torch.rand(3, 40, 48, generator=draw), "a room", maps, attributes)


def test_a_map_comes_from_the_data_from_another_map_or_from_the_picture() -> None:
    known = record(keypoints=person())
    told = {kind: origin(kind, known.maps, known.attributes) for kind in ("depth", "depth_layers", "labels", "canny")}
    assert told == {"depth": "depth", "depth_layers": "depth", "labels": "segmentation", "canny": ""}
    assert origin("depth", (), {}) is None and origin("pose", (), {}) is None and origin("mask", (), {}) is None
    assert origin("pose", (), known.attributes) == "" and origin("mask", ("mask",), {}) == "mask"
    assert torch.equal(condition_map(known, "depth"), known.maps["depth"][None])
    assert torch.equal(condition_map(known, "depth_layers"), build("depth_layers")(known.maps["depth"][None]))
    assert torch.equal(condition_map(known, "canny"), extract("canny", known.image[None]))
    assert torch.equal(condition_map(known, "colour_grid"), extract("colour_grid", known.image[None]))
    with pytest.raises(InputError, match="one has no depth map"):
        condition_map(Record("one", known.image, ""), "depth")


def test_every_map_has_the_picture_s_size() -> None:
    known = record(keypoints=person())
    for kind in ANNOTATORS:
        needs = ANNOTATORS[kind].needs
        if not (needs.weights or needs.packages) and origin(kind, known.maps, known.attributes) is not None:
            assert condition_map(known, kind).shape[2:] == (40, 48), kind


def test_people_are_drawn_from_their_points() -> None:
    """Whole: what is hidden is asked for as well; who is hardly seen is left out."""
    drawn = condition_map(record(keypoints=person(seen=10) + person(x=30, seen=5)), "pose")
    assert drawn.shape == (1, 3, 40, 48)
    for place in (0, 12, 16):
        x, y, _ = person()[place]
        found = drawn[0, :, int(y), int(x)] if y < 40 else None
        assert found is None or torch.equal((found * 255).round().int(), torch.tensor(DOTS[place]).int())
    assert not drawn[..., 34:].any()
    assert bodies({"keypoints": person() * 2}).shape == (2, 18, 3)
    for broken in (None, [], [1, 2], [[0, 0, 2]] * 17, "points", {"x": 1}):
        assert bodies({"keypoints": broken}).shape == (0, 18, 3)


def test_a_room_s_skeleton_lies_on_its_figure() -> None:
    found = next(each for each in records(range(20_000, 20_040)) if len(bodies(each.attributes)))
    person_colour = torch.tensor([255.0, 90.0, 0.0])[:, None, None] / 255
    figure = ((found.maps["segmentation"] - person_colour).abs().amax(0) < 0.01).float()
    seen = bodies(found.attributes)
    points = seen[seen[..., 2] > 1]
    on = figure[points[:, 1].long(), points[:, 0].long()]
    assert on.mean() > 0.7
    skeleton = condition_map(found, "pose")[0].amax(0) > 0
    assert 0.02 < skeleton.float().mean() < 0.3, "thin enough to be read at 64 px"


def test_a_sketch_is_read_from_a_drawing_of_the_picture() -> None:
    """As of somebody who drew it on paper; the annotator would find shadows and furniture in a photograph."""
    (room,) = records([20_000], (128, 128))
    drawn, strokes = (condition_map(room, kind) > 0 for kind in ("sketch", "scribble"))
    near = max_pool2d(strokes.float(), 7, stride=1, padding=3) > 0
    assert drawn[strokes].float().mean() > 0.7 and near[drawn].float().mean() > 0.9


def test_holes_are_drawn_by_chance_and_differ() -> None:
    masks = torch.cat([hole((48, 40), draw) for draw in generators(0, 0, range(32))])
    share = masks.mean((1, 2, 3))
    assert masks.shape == (32, 1, 40, 48) and set(masks.unique().tolist()) == {0, 1}
    assert share.min() > 0.05 and share.max() < 0.6 and share.std() > 0.03

    def shown(seed: int) -> Tensor:
        return condition_map(record(), "inpaint", torch.Generator().manual_seed(seed))

    assert torch.equal(shown(1), shown(1)) and not torch.equal(shown(1), shown(2))
    kept = shown(1)[0].amin(0) >= 0
    assert torch.equal(shown(1)[0][:, kept], record().image[:, kept]) and bool((shown(1)[0][:, ~kept] == -1).all())
    one, other = (condition_map(Record(name, record().image, ""), "inpaint") for name in ("one", "other"))
    assert not torch.equal(one, other), "each picture of an evaluation has its own hole, always the same"
    assert torch.equal(one, condition_map(Record("one", record().image, ""), "inpaint"))
