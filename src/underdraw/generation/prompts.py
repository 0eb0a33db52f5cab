r"""A1111's way of writing prompts, and what a drawing's prompts are read with.

`(word)` is 1.1 times as loud, `[word]` 1.1 times as quiet, `(word:1.2)` 1.2 times as loud; groups lie in groups, `\(`
is the bracket itself, and `BREAK` begins a new chunk. Full-width brackets are ordinary signs, as there.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from underdraw.config import Config
from underdraw.errors import InputError
from underdraw.model import Embedding, Part, Prompt

__all__ = ["Grammar", "Learned", "Reading", "learned_words", "parse"]

Grammar = Literal["literal", "a1111"]
"""Whether brackets are brackets and a long prompt is cut off, or both are as A1111 has them."""
LOUDER = 1.1
Weighted = tuple[str, float]

_SIGN = re.compile(
    r"\\(?P<escaped>[()\[\]\\])"
    r"|(?P<open>[(\[])"
    r"|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)"
    r"|(?P<close>[)\]])"
    r"|(?P<words>[^\\()\[\]:]+|:)"
    r"|\\"
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_EDITING = re.compile(r"(?<!\\)\[(?:\\.|[^\[\]\\])*?(?::\s*[\d.]+\s*|\|(?:\\.|[^\[\]\\])*)\]")


def parse(text: str) -> list[list[Weighted]]:
    """A prompt's sections (parted by BREAK), each as words with their weights; neighbours of one weight are one.

    Brackets that are not closed end with the prompt; closing ones that close nothing, and a `:1.2)`, are words; a lone
    backslash is nothing. All as in A1111. Raises InputError for its prompt editing, `[from:to:when]` and `[a|b]`.
    """
    if (found := _EDITING.search(text)) is not None:
        raise InputError(
            f"the prompt's {found[0]!r} would change it on the way (A1111's prompt editing), which is not done here;"
            r" write (words:1.2) for a weight, or \[ for a bracket"
        )
    pieces: list[tuple[str | None, float]] = []
    begun: dict[str, list[int]] = {"(": [], "[": []}

    def close(bracket: str, times: float) -> None:
        begin = begun[bracket].pop()
        pieces[begin:] = [(words, weight * times) for words, weight in pieces[begin:]]

    for sign in _SIGN.finditer(text):
        kind = sign.lastgroup
        if kind == "open":
            begun[sign[0]].append(len(pieces))
        elif kind == "weight" and begun["("]:
            close("(", float(sign["weight"]))
        elif kind == "close" and begun[bracket := "(" if sign[0] == ")" else "["]:
            close(bracket, LOUDER if bracket == "(" else 1 / LOUDER)
        elif kind == "escaped":
            pieces.append((sign["escaped"], 1.0))
        elif kind is not None:
            for place, words in enumerate(_BREAK.split(sign[0])):
                pieces += [(None, 1.0)] * bool(place) + [(words, 1.0)]
    for bracket, times in (("(", LOUDER), ("[", 1 / LOUDER)):
        while begun[bracket]:
            close(bracket, times)
    return _sections(pieces)


def _sections(pieces: list[tuple[str | None, float]]) -> list[list[Weighted]]:
    sections: list[list[Weighted]] = [[]]
    for words, weight in pieces:
        if words is None:
            sections.append([])
        elif sections[-1] and sections[-1][-1][1] == weight:
            sections[-1][-1] = (sections[-1][-1][0] + words, weight)
        elif words:
            sections[-1].append((words, weight))
    return [section or [("", 1.0)] for section in sections]


class Learned(Config):
    """A learned word (textual inversion) as a recipe keeps it: its name in the prompt, and its file's hash."""

    name: str
    hash: str


@dataclass(frozen=True, eq=False)
class Reading:
    """How prompts are read.

    clip_skip: 1 is the layer that a base usually gives, 2 the one before it (A1111's counting).
    embeddings: learned words by the names under which prompts mention them.
    """

    grammar: Grammar = "literal"
    clip_skip: int = 1
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)

    def __call__(self, text: str) -> Prompt:
        """A prompt as the towers take it. Raises InputError as `parse`."""
        sections = [[(text, 1.0)]] if self.grammar == "literal" else parse(text)
        read = (tuple(part for each in section for part in self._parts(*each)) for section in sections)
        return Prompt(tuple(read), whole=self.grammar != "literal")

    def _parts(self, words: str, weight: float) -> Iterator[Part]:
        known = {name.lower(): word for name, word in self.embeddings.items()}
        if not known:
            yield Part(words, weight)
            return
        done = 0
        for found in _pattern(tuple(known)).finditer(words):
            yield Part(words[done : found.start()], weight)
            yield Part(known[found[0].lower()], weight)
            done = found.end()
        yield Part(words[done:], weight)


def learned_words(names: Mapping[str, object], *texts: str) -> list[str]:
    """Which of the names (in small letters) stand in the texts as whole words, in any case; sorted."""
    if not names:
        return []
    pattern = _pattern(tuple(names))
    return sorted({found[0].lower() for text in texts for found in pattern.finditer(text)})


def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Finds names as whole words, the longest first: `cat` is not in `cats`."""
    told = (rf"(?!(?<=\w)\w){re.escape(name)}(?!(?<=\w)\w)" for name in sorted(names, key=len, reverse=True))
    return re.compile("|".join(told), re.IGNORECASE)
