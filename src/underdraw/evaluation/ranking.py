"""Human ranking: what people said of pictures, by method, with intervals: the study of Zhang et al. 2023."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from underdraw.errors import InputError
from underdraw.evaluation.fidelity import Estimate, mean

__all__ = ["ASKED", "Answer", "Ranked", "ranking_table", "rankings", "read_answers"]

ASKED = ("quality", "obedience")
"""What people give a score from 1 (worst) to 5 for."""


@dataclass(frozen=True)
class Answer:
    """One person's scores of the pictures of one set, by method and by what was asked."""

    person: str
    set: str
    scores: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Ranked:
    """A method's mean scores with 95 % bootstrap intervals over answers."""

    method: str
    answers: int
    people: int
    quality: Estimate
    obedience: Estimate


def read_answers(path: Path) -> Iterator[Answer]:
    """The answers in a JSONL file. Raises InputError naming the line that cannot be used."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    for number, line in enumerate(lines, 1):
        try:
            told = json.loads(line)
            scores = {name: {asked: int(each[asked]) for asked in ASKED} for name, each in told["scores"].items()}
            if not all(1 <= score <= 5 for each in scores.values() for score in each.values()):
                raise ValueError("a score is not from 1 to 5")
            yield Answer(str(told["person"]), str(told["set"]), scores)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}, line {number} is no answer ({error}); remove it") from error


def rankings(answers: Iterable[Answer], seed: int = 0) -> list[Ranked]:
    """Every method, the one of best quality first. Raises InputError where nothing was answered."""
    known = list(answers)
    methods = sorted({method for answer in known for method in answer.scores})
    if not methods:
        raise InputError("there are no answers yet; let people rank: underdraw serve --rank FOLDER")
    return sorted((_ranked(method, known, seed) for method in methods), key=lambda each: -each.quality.value)


def _ranked(method: str, answers: list[Answer], seed: int) -> Ranked:
    mine = [answer for answer in answers if method in answer.scores]
    scores = [torch.tensor([float(answer.scores[method][asked]) for answer in mine]) for asked in ASKED]
    people = len({answer.person for answer in mine})
    return Ranked(method, len(mine), people, *(mean(each, seed) for each in scores))


def ranking_table(found: Iterable[Ranked]) -> str:
    """As Markdown: mean scores from 1 to 5 with their 95 % intervals."""
    rows = [
        f"| {each.method} | {each.answers} | {each.people} | {each.quality:.2f} | {each.obedience:.2f} |"
        for each in found
    ]
    return "\n".join(["| method | answers | people | quality | obedience |", "| --- | --- | --- | --- | --- |", *rows])
