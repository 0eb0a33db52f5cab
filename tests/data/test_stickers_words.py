"""What is said of a sticker: its colour, its background, its caption."""

from random import Random

import pytest
import torch
from torch import Tensor

from underdraw.data.stickers import COLOURS, TINTS, Emoji, Sticker
from underdraw.data.stickers.backgrounds import WHITE, Background, choose_background
from underdraw.data.stickers.captions import LONGEST, article, caption, caption_zh, countable
from underdraw.data.stickers.colours import dominant, palette
from underdraw.errors import InputError

SWATCHES = {
    "red": "f8312f", "orange": "ff822d", "yellow": "ffb02e", "green": "00d26a", "blue": "0074ba", "purple": "8d65c5",
    "pink": "ff8eb5", "brown": "6d4534", "black": "1c1c1c", "grey": "9b9b9b", "white": "ffffff",
}  # fmt: skip
MUSHROOM = Emoji(
    "1f344", "mushroom", "mushroom", "蘑菇", ("fungus", "toadstool"), ("毒蕈", "真菌"), mirrors=True, coloured=True
)
PLAIN = Background((WHITE,), (WHITE.rgb,))


def paint(*parts: tuple[str, int]) -> Tensor:
    """Opaque 4×8×N: so many columns of each hexadecimal colour."""
    columns = [torch.tensor([*bytes.fromhex(colour), 255]).view(4, 1, 1).expand(4, 8, many) for colour, many in parts]
    return torch.cat(columns, 2) / 255


def sticker(emoji: Emoji = MUSHROOM, style: str = "3d sticker") -> Sticker:
    return Sticker("set", style, "3D贴纸", emoji, "1f344", b"")


def captions(emoji: Emoji, colour: str | None = None, background: Background = PLAIN, count: int = 200) -> list[str]:
    return [caption(sticker(emoji), colour, background, Random(seed)) for seed in range(count)]


@pytest.mark.parametrize(("name", "colour"), SWATCHES.items())
def test_every_named_colour_is_recognised(name: str, colour: str) -> None:
    assert dominant(paint((colour, 8))) == name
    assert palette(paint((colour, 8)))[name] == 1


def test_the_swatches_are_all_the_colours() -> None:
    assert SWATCHES.keys() == COLOURS.keys()


def test_a_colour_dominates_by_majority_without_rival() -> None:
    assert dominant(paint(("00d26a", 7), ("0074ba", 3))) == "green"
    assert dominant(paint(("00d26a", 6), ("0074ba", 4))) is None  # a rival
    assert dominant(paint(("00d26a", 4), ("0074ba", 2), ("f8312f", 2), ("1c1c1c", 2))) is None  # no majority


def test_a_shaded_red_is_red_and_skin_has_no_colour() -> None:
    assert dominant(paint(("ff3344", 4), ("ff6f9f", 5))) == "red"
    assert dominant(paint(("f7d7c4", 8))) is None


def test_transparent_pixels_do_not_count() -> None:
    picture = paint(("0074ba", 7), ("f8312f", 3))
    assert dominant(picture) == "blue"
    picture[3, :, :7] = 0
    assert dominant(picture) == "red"


def test_backgrounds_avoid_what_would_drown() -> None:
    chosen = [choose_background(Random(seed), {"blue", "white"}) for seed in range(300)]
    families = {tint.family for background in chosen for tint in background.tints}
    assert families == {tint.family for tint in TINTS} - {"blue", "white"}
    everything = {tint.family for tint in TINTS}
    assert choose_background(Random(0), everything).tints[0].name in ("white", "grey")


def test_backgrounds_are_white_tinted_and_graded_in_their_shares() -> None:
    chosen = [choose_background(Random(seed), ()) for seed in range(1000)]
    white = sum(background.tints == (WHITE,) for background in chosen)
    graded = sum(len(background.tints) == 2 for background in chosen)
    assert 380 < white < 490 and 120 < graded < 200


def test_a_background_can_be_fixed_and_an_unknown_one_is_named() -> None:
    fixed = choose_background(Random(0), {"blue"}, "light blue")
    assert fixed.name == "light blue" and fixed.name_zh == "浅蓝色"
    assert torch.equal(fixed.paint((5, 3)), torch.tensor(fixed.tints[0].rgb).view(3, 1, 1).expand(3, 3, 5))
    with pytest.raises(InputError, match="'mauve'; there are: white, "):
        choose_background(Random(0), (), "mauve")


def test_a_gradient_runs_from_the_first_tint_to_the_last() -> None:
    black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    graded = Background((TINTS[3], WHITE), (black, white), angle=0.0)
    picture = graded.paint((9, 4))
    assert (
        picture.shape == (3, 4, 9) and graded.name == "black to white gradient" and graded.name_zh == "黑色到白色渐变"
    )
    torch.testing.assert_close(picture[0, 2], torch.linspace(0, 1, 9))
    upwards = Background((TINTS[3], WHITE), (black, white), angle=0.75).paint((9, 4))
    torch.testing.assert_close(upwards[1, :, 3], torch.linspace(1, 0, 4))


def test_captions_are_varied_and_hold_the_style_and_the_name() -> None:
    said = captions(MUSHROOM, "red")
    assert len(set(said)) > 50
    assert all("3d sticker" in text and "mushroom" in text for text in said)
    assert {"a red mushroom, 3d sticker", "mushroom, 3d sticker"} <= set(said)
    for part in ("a 3d sticker of", "fungus", "toadstool", "red mushroom", "a mushroom"):
        assert 5 < sum(part in text for text in said) < 150, part


def test_white_is_mostly_unsaid_and_all_else_is_said() -> None:
    assert 30 < sum("on a white background" in text for text in captions(MUSHROOM)) < 100
    orange = choose_background(Random(0), (), "orange")
    assert all("on an orange background" in text for text in captions(MUSHROOM, None, orange))
    assert all("橙色背景" in caption_zh(sticker(), None, orange, Random(seed)) for seed in range(50))


def test_a_colour_is_not_said_twice_nor_of_people() -> None:
    apple = Emoji("1f34f", "green-apple", "green apple", "青苹果", (), (), mirrors=True, coloured=True)
    person = Emoji("1f9d1", "person", "person", "成人", (), (), mirrors=True, coloured=False)
    assert not any("blue" in text for text in captions(apple, "blue"))
    assert not any("brown" in text for text in captions(person, "brown"))


def test_chinese_captions_name_style_name_and_colour() -> None:
    said = {caption_zh(sticker(), "red", PLAIN, Random(seed)) for seed in range(200)}
    assert len(said) > 40 and {"红色蘑菇，3D贴纸", "3D贴纸：蘑菇"} <= said
    assert all("3D贴纸" in text and "蘑菇" in text for text in said)
    assert any("白色背景上的" in text for text in said) and any("一个红色的蘑菇" in text for text in said)


def test_captions_keep_to_their_length() -> None:
    keyword = " ".join(["word"] * 9)
    wordy = Emoji("1", "", " ".join(["long"] * 12), "长", (keyword, keyword), (), mirrors=False, coloured=True)
    said = captions(wordy, "red", Background((TINTS[4], TINTS[14]), (WHITE.rgb, WHITE.rgb)))
    assert max(len(text.split()) for text in said) <= LONGEST
    assert all("gradient background" in text for text in said)
    assert any(keyword in text for text in captions(wordy))  # where there is room


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("mushroom", True), ("octopus", True), ("glass of milk", True), ("face with crossed-out eyes", True),
        ("woman and man holding hands", True), ("glasses", False), ("people holding hands", False),
        ("Mount Fuji", False), ("cooked rice", False), ("one o'clock", False), ("palms up together", False),
        ("1st place medal", False),
    ],
)  # fmt: skip
def test_articles_stand_where_they_fit(name: str, fits: bool) -> None:
    assert countable(name) is fits


@pytest.mark.parametrize("name", ["orange", "unicorn", "one-piece swimsuit", "umbrella", "euro banknote", "eye", "key"])
def test_an_stands_before_vowels_that_are_heard(name: str) -> None:
    assert article(name) == ("an " if name in ("orange", "umbrella", "eye") else "a ")
