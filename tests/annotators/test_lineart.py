import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from underdraw import images
from underdraw.annotators import LineArt, build

STYLES = ("fine", "coarse", "anime")


def published_standard(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The convention of lineart_standard, written from its description."""
    lighter = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 6.0) - pixels.astype(np.float32)
    intensity = np.clip(np.min(lighter, axis=2), 0, 255)
    clear = intensity[intensity > 8]
    usual = max(16, np.median(clear)) if len(clear) else 16
    return np.asarray(np.clip(intensity / usual * 127, 0, 255).astype(np.uint8))


def blobs(height: int = 100, width: int = 140, seed: int = 0) -> Tensor:
    rough = torch.rand(1, 3, height // 7, width // 7, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(rough, (height, width), mode="bicubic").clamp(0, 1)


def drawn(ink: float = 0.0, paper: float = 1.0, size: int = 256) -> Tensor:
    """A circle and a line, about 2 px wide."""
    page = np.zeros((size, size), np.uint8)
    cv2.circle(page, (90, 128), 50, 255, 1, cv2.LINE_AA)
    cv2.line(page, (190, 30), (190, 226), 255, 1, cv2.LINE_AA)
    share = images.from_uint8(page[..., None])
    return (paper * (1 - share) + ink * share).repeat(3, 1, 1)[None]


class TestStandard:
    @pytest.mark.parametrize("seed", range(4))
    def test_equals_the_published_convention_byte_for_byte(self, seed: int) -> None:
        for picture in (blobs(seed=seed), torch.where(blobs(seed=seed) > 0.5, 1.0, 0.0), 0.2 * blobs(seed=seed)):
            found = LineArt(detail="standard")(picture)[0, 0].numpy() * 255
            assert np.array_equal(found.round().astype(np.uint8), published_standard(images.to_uint8(picture[0])))

    def test_goes_by_the_name_that_people_know(self) -> None:
        assert build("lineart_standard") == LineArt(detail="standard")

    def test_black_lines_on_white_become_white_on_black(self) -> None:
        found = LineArt(detail="standard")(drawn())[0, 0]
        assert found[128, 190] > 0.45 and found[128, 150] == 0


@pytest.mark.parametrize("style", STYLES)
class TestStyles:
    def test_a_dark_line_is_one_line_where_it_was(self, style: str) -> None:
        across = LineArt(detail=style)(drawn())[0, 0, 100, 160:220]
        assert abs(int(across.argmax()) - 30) <= 1 and across.max() > 0.9
        strong = (across > 0.5).nonzero().flatten().tolist()
        assert strong == list(range(strong[0], strong[-1] + 1)) and len(strong) <= 9

    def test_shadow_and_light_weigh_the_same(self, style: str) -> None:
        lines = [LineArt(detail=style)(drawn(ink, paper))[0, 0] for ink, paper in ((0.55, 1.0), (0.175, 0.4))]
        assert float((lines[0] - lines[1]).abs().max()) < 0.35
        assert min(float(each[128, 190]) for each in lines) > 0.6, "the ratio is the same, so is the line"

    def test_foliage_does_not_drown_the_rest(self, style: str) -> None:
        leaves = torch.rand(1, 1, 256, 128, generator=torch.Generator().manual_seed(0)) * 0.25 + 0.3
        page = drawn(ink=0.2, paper=0.6)
        page[..., :128] = leaves
        found = LineArt(detail=style)(page)[0, 0]
        assert found[40:216, 189:192].amax(1).mean() > 4 * found[40:216, 16:112].mean()

    def test_thickness_and_strength(self, style: str) -> None:
        edge = (blobs(210, 210).mean(1, keepdim=True) > 0.5).float().expand(-1, 3, -1, -1)
        ink = [float((LineArt(detail=style, thickness=value)(edge) > 0.5).float().mean()) for value in (1.0, 3.0)]
        assert ink[1] > 1.4 * ink[0]
        faint = drawn(ink=0.75)
        grey = [float(LineArt(detail=style, strength=value)(faint).sum()) for value in (0.5, 1.0, 2.0)]
        assert 0 < grey[0] < grey[1] < grey[2]

    def test_a_larger_drawing_has_larger_lines(self, style: str) -> None:
        page = torch.nn.functional.interpolate(drawn(), (768, 768), mode="bicubic").clamp(0, 1)
        large = images.resize(LineArt(detail=style)(page), (256, 256))
        assert (
            float(torch.corrcoef(torch.stack([large.flatten(), LineArt(detail=style)(drawn()).flatten()]))[0, 1]) > 0.75
        )

    def test_the_same_turned_round(self, style: str) -> None:
        """Lines are followed as well upwards as sideways."""
        upright = LineArt(detail=style)(blobs(96, 96))
        lying = LineArt(detail=style)(blobs(96, 96).transpose(-1, -2)).transpose(-1, -2)
        assert float((upright - lying).abs().mean()) < 0.01


def test_styles_differ_in_how_much_they_draw() -> None:
    ink = {style: float(LineArt(detail=style)(blobs(200, 200)).mean()) for style in STYLES}
    assert len(set(ink.values())) == 3
    shares = [float((LineArt(detail=style)(blobs(200, 200)) > 0.05).float().mean()) for style in ("fine", "coarse")]
    assert shares[0] > 0 and shares[1] > 0
