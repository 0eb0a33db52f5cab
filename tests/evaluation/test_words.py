from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import CLIPModel, CLIPTokenizer

from underdraw.data.folder import Record
from underdraw.data.scenes import COLOURS
from underdraw.errors import CheckpointError
from underdraw.evaluation.trials import Item, Protocol, choose, gather
from underdraw.evaluation.words import Clip, ask, prefer, questions, swaps
from underdraw.training.clip import MEAN, SPREAD


class Painter:
    """A listener that knows colours and nothing else: a picture is its strongest pixel's colour, a word its paint."""

    def see(self, pictures: Tensor) -> Tensor:
        flat = pictures.flatten(2)
        vivid = (flat.amax(1) - flat.amin(1)).argmax(1)
        return self._unit(flat[torch.arange(len(flat)), :, vivid])

    def hear(self, captions: Sequence[str]) -> Tensor:
        heard = [
            torch.tensor(
                [COLOURS[word].rgb for word in text.replace(",", "").split() if word in COLOURS] or [(0.0,) * 3]
            )
            for text in captions
        ]
        return self._unit(torch.stack([colours.mean(0) for colours in heard]))

    def _unit(self, colours: Tensor) -> Tensor:
        centred = colours - colours.mean(1, keepdim=True)
        return torch.nn.functional.normalize(centred, dim=1)


PAINTER = cast(Clip, Painter())


def item(text: str, world: str = "w", **attributes: Any) -> Item:
    return Item(Record(text, torch.zeros(3, 32, 32), text, {}, attributes), world, 0)


def test_one_thing_is_exchanged_at_a_time(worlds: list[Path]) -> None:
    items = choose(gather(worlds, "report"), Protocol(items=24))
    found = swaps(items)
    assert {swap.attribute for swap in found} == {"colour", "thing"}
    assert len([swap for swap in found if swap.attribute == "colour"]) == 24
    for swap in found:
        right, wrong = swap.right.split(), swap.wrong.split()
        changed = [(a, b) for a, b in zip(right, wrong, strict=True) if a != b]
        assert swap.right == items[swap.row].record.text
        assert len(changed) == 1
        assert (changed[0][0] in COLOURS) == (changed[0][1] in COLOURS) == (swap.attribute == "colour")
    assert found == swaps(items)
    assert found != swaps(items, seed=1)


def test_the_article_goes_on_fitting() -> None:
    items = [item(f"an orange and red {name}", name_en=name) for name in ("apple", "fish", "owl", "pear")]
    wrong = {swap.right: swap.wrong for swap in swaps(items) if swap.attribute == "thing"}
    assert wrong == {
        "an orange and red apple": "an orange and red owl",
        "an orange and red fish": "an orange and red pear",
        "an orange and red owl": "an orange and red apple",
        "an orange and red pear": "an orange and red fish",
    }
    coloured = [swap.wrong for swap in swaps(items) if swap.attribute == "colour"]
    assert len(coloured) == 4, "no other colour begins with a vowel, so the red one is exchanged"
    assert all(wrong.startswith("an orange and ") and " red " not in wrong for wrong in coloured)


def test_captions_that_name_nothing_are_not_asked_about() -> None:
    assert swaps([item("hello"), item("红色的蘑菇，贴纸", name_en="mushroom")]) == []
    assert prefer(PAINTER, [item("hello")], torch.zeros(1, 3, 32, 32)) == {}


def test_the_painter_prefers_the_right_colour_and_guesses_things(worlds: list[Path]) -> None:
    items = choose(gather(worlds, "report"), Protocol(items=24))
    truth = torch.stack([each.record.image for each in items])
    found = prefer(PAINTER, items, truth)
    assert found["colour"].items == 24 and found["colour"].drawn.value > 0.9
    assert found["colour"].drawn == found["colour"].true
    assert found["thing"].drawn.value == 0, "equally near is not preferred"
    assert found["all"].items == found["colour"].items + found["thing"].items
    wrong = prefer(PAINTER, items, truth.roll(1, 1))["colour"]
    assert wrong.drawn.value < wrong.true.value


def test_questions_of_rooms_and_stickers() -> None:
    room = {
        "wall_colour": "blue",
        "time_of_day": "sunset",
        "objects": [{"kind": kind, "colour": "red"} for kind in ("window", "person", "sofa", "ball")],
    }
    asked = {question.about: question.options[question.answer] for question in questions(room)}
    assert asked == {
        "wall colour": "a room with blue walls",
        "time of day": "a room at sunset",
        "largest thing": "a mannequin",
        "colour of the largest thing": "a red sofa",
    }
    sticker = list(questions({"colour": "green", "name_en": "apple"}))
    assert [question.options[question.answer] for question in sticker] == ["a green apple"]
    assert list(questions({"colour": None, "name_en": "clock"})) == []


def test_the_painter_knows_colours_and_not_kinds(worlds: list[Path]) -> None:
    known = ask(PAINTER, choose(gather(worlds, "report"), Protocol(items=24)))
    for about in ("colour of a sticker", "colour of the largest thing"):
        assert known[about].right.value >= 0.75, "red, green and blue, and yellow is nearly beige"
    assert known["colour of a sticker"].guess == 1 / 13 and known["colour of a sticker"].usual == 0.25
    assert known["largest thing"].usual == 1 and known["wall colour"].items == 12


def test_a_clip_folder_answers_as_transformers_does(clip: Path) -> None:
    pictures = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    captions = ["a red ball", "a blue fish, sticker", "红色"]
    listener = Clip(clip)
    ids = CLIPTokenizer.from_pretrained(str(clip))(captions, padding=True, return_tensors="pt").input_ids
    with torch.no_grad():
        stock = CLIPModel.from_pretrained(str(clip)).eval()(pixel_values=(pictures - MEAN) / SPREAD, input_ids=ids)
    likeness = listener.see(pictures) @ listener.hear(captions).T
    assert_close(
        likeness * stock.logits_per_image.norm() / likeness.norm(), stock.logits_per_image, atol=1e-4, rtol=1e-4
    )
    assert_close(listener.see(pictures).norm(dim=1), torch.ones(3))


def test_a_folder_without_a_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing does not hold a CLIP"):
        Clip(tmp_path / "nothing")
