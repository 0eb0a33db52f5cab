"""Does a picture say what its caption says? Asked of a small CLIP that was trained beside the base."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from underdraw.data.exchange import THINGS, exchange, things
from underdraw.data.scenes import COLOURS
from underdraw.data.scenes.vocabulary import TIMES
from underdraw.errors import CheckpointError
from underdraw.evaluation.fidelity import Estimate, mean
from underdraw.evaluation.trials import Item
from underdraw.training.clip import MEAN, SPREAD, tokenize

__all__ = ["Clip", "Known", "Preference", "Question", "Swap", "ask", "prefer", "questions", "swaps"]


class Clip:
    """A `CLIPModel` folder with its tokenizer. Raises CheckpointError for one that is missing or broken."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        from transformers import CLIPModel, CLIPTokenizer

        try:
            self.model = CLIPModel.from_pretrained(str(folder), local_files_only=True).to(device).eval()
            self.tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{folder} does not hold a CLIP ({reason}); give the export of its run") from error
        self.device = device

    @torch.no_grad()
    def see(self, pictures: Tensor) -> Tensor:
        """Unit vectors N×D of pictures N×3×H×W in [0, 1]."""
        blank = tokenize(self.tokenizer, [""], whole=False).to(self.device)
        seen = [
            self.model(pixel_values=(part.to(self.device) - MEAN) / SPREAD, input_ids=blank).image_embeds
            for part in torch.split(pictures, 64)
        ]
        return torch.cat(seen).float().cpu()

    @torch.no_grad()
    def hear(self, captions: Sequence[str]) -> Tensor:
        """Unit vectors N×D of captions."""
        side = self.model.config.vision_config.image_size
        blank = torch.zeros(1, 3, side, side, device=self.device)
        heard = [
            self.model(
                pixel_values=blank,
                input_ids=tokenize(self.tokenizer, list(captions[start : start + 256]), whole=False).to(self.device),
            ).text_embeds
            for start in range(0, len(captions), 256)
        ]
        return torch.cat(heard).float().cpu()


@dataclass(frozen=True)
class Swap:
    """A caption with one attribute exchanged for a wrong one."""

    attribute: str
    row: int
    right: str
    wrong: str


def swaps(items: Sequence[Item], seed: int = 0) -> list[Swap]:
    """One wrong colour and one wrong thing for every item whose English caption names them, drawn by the seed.

    The wrong thing is one that another item of the same folder shows and this one does not; it takes the same article.
    """
    names = {
        world: sorted({name for item in items if item.world == world for name in things(item.record.attributes)})
        for world in {item.world for item in items}
    }
    colours, found = sorted(COLOURS), []
    for row, item in enumerate(items):
        random, shown = Random(f"{seed} {item.record.name}"), things(item.record.attributes)
        wrong = {
            "colour": exchange(item.record.text, colours, colours, random),
            "thing": exchange(item.record.text, shown, names[item.world], random, never=shown),
        }
        found += [Swap(name, row, item.record.text, text) for name, text in wrong.items() if text]
    return found


@dataclass(frozen=True)
class Preference:
    """How often CLIP prefers the right caption to the one with a wrong attribute, for drawn and for true pictures."""

    items: int
    drawn: Estimate
    true: Estimate


def prefer(clip: Clip, items: Sequence[Item], drawn: Tensor, seed: int = 0) -> dict[str, Preference]:
    """By attribute, and over all. drawn: N×3×H×W, by the captions alone."""
    tried = swaps(items, seed)
    if not tried:
        return {}
    rows = torch.tensor([swap.row for swap in tried])
    gap = clip.hear([swap.right for swap in tried]) - clip.hear([swap.wrong for swap in tried])
    truth = torch.stack([item.record.image for item in items])
    right = [((clip.see(pictures)[rows] * gap).sum(1) > 0).float() for pictures in (drawn, truth)]
    groups = {"all": torch.ones(len(tried), dtype=torch.bool)}
    groups |= {name: torch.tensor([swap.attribute == name for swap in tried]) for name in ("colour", "thing")}
    return {
        name: Preference(int(group.sum()), *(mean(scores[group], seed) for scores in right))
        for name, group in groups.items()
        if group.any()
    }


@dataclass(frozen=True)
class Question:
    """What a picture is asked: captions of which one is right."""

    about: str
    options: tuple[str, ...]
    answer: int


def questions(attributes: dict[str, Any]) -> Iterator[Question]:
    """Of a room: wall colour, time of day, the largest thing's kind and colour. Of a sticker: its colour.

    A person counts as a thing, but has no one colour.
    """
    colours = list(COLOURS)
    if attributes.get("wall_colour") in colours:
        walls = tuple(f"a room with {colour} walls" for colour in colours)
        yield Question("wall colour", walls, colours.index(attributes["wall_colour"]))
    if attributes.get("time_of_day") in TIMES:
        times = tuple(f"a room {words[0][0]}" for words in TIMES.values())
        yield Question("time of day", times, list(TIMES).index(attributes["time_of_day"]))
    shown = [thing for thing in attributes.get("objects", ()) if thing["kind"] in THINGS]
    for thing in shown[:1]:
        named = tuple(f"a {english}" for english in THINGS.values())
        yield Question("largest thing", named, list(THINGS).index(thing["kind"]))
    for thing in [thing for thing in shown if thing["kind"] != "person" and thing["colour"] in colours][:1]:
        coloured = tuple(f"a {colour} {THINGS[thing['kind']]}" for colour in colours)
        yield Question("colour of the largest thing", coloured, colours.index(thing["colour"]))
    if attributes.get("colour") in colours and attributes.get("name_en"):
        coloured = tuple(f"a {colour} {attributes['name_en']}" for colour in colours)
        yield Question("colour of a sticker", coloured, colours.index(attributes["colour"]))


@dataclass(frozen=True)
class Known:
    """How often CLIP gives the right answer to a question that it was never trained for; what guessing would give.

    guess: one of the options at random. usual: always the most frequent answer.
    """

    items: int
    options: int
    right: Estimate
    guess: float
    usual: float


def ask(clip: Clip, items: Sequence[Item], seed: int = 0) -> dict[str, Known]:
    """Zero-shot answers on the true pictures of items, by question."""
    seen = clip.see(torch.stack([item.record.image for item in items]))
    asked: dict[str, list[tuple[int, Question]]] = {}
    for row, item in enumerate(items):
        for question in questions(dict(item.record.attributes)):
            asked.setdefault(question.about, []).append((row, question))
    return {about: _known(clip, seen, pairs, seed) for about, pairs in asked.items()}


def _known(clip: Clip, seen: Tensor, pairs: Sequence[tuple[int, Question]], seed: int) -> Known:
    captions = sorted({option for _, question in pairs for option in question.options})
    place = {caption: row for row, caption in enumerate(captions)}
    likeness = seen @ clip.hear(captions).T
    answers = torch.tensor([question.answer for _, question in pairs])
    given = torch.tensor(
        [int(likeness[row, [place[option] for option in question.options]].argmax()) for row, question in pairs]
    )
    options = len(pairs[0][1].options)
    usual = float(answers.bincount().max() / len(answers))
    return Known(len(pairs), options, mean((given == answers).float(), seed), 1 / options, usual)
