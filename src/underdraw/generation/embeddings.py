"""The learned words that prompts may name: textual inversions on the shelf, as in A1111, and those that were given."""

from functools import cached_property
from pathlib import Path

from underdraw.errors import ConfigError
from underdraw.formats.embeddings import is_embedding, open_embedding
from underdraw.formats.places import listed, shelves
from underdraw.generation.prompts import Learned, learned_words, parse
from underdraw.generation.provenance import fingerprint
from underdraw.generation.recipe import Drawing
from underdraw.model import Backbone, Embedding
from underdraw.registry import nearest

__all__ = ["Embeddings"]


class Embeddings:
    """Textual inversions by name, in any case; opened when a prompt names them."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._given: dict[str, Path] = {}
        self._opened: dict[Path, Embedding] = {}

    def add(self, path: str | Path) -> str:
        """Know the one in a file from now on, by the file's name and by the word in it; returns the latter.

        Raises CheckpointError as `open_embedding`.
        """
        place = Path(path)
        word = self._open(place).name
        self._given |= {place.stem.lower(): place, word.lower(): place}
        return word

    def named(self, *prompts: str) -> tuple[Learned, ...]:
        """Those that prompts name, as recipes carry them. Raises CheckpointError for files that can't be used."""
        known = self._shelf | self._given
        words = [word for word in learned_words(known, *prompts) if word in self._given or is_embedding(known[word])]
        for word in words:
            self._open(known[word])
        return tuple(Learned(name=word, hash=self.hash(word)) for word in words)

    def worded(self, drawing: Drawing) -> Drawing:
        """The recipe with the learned words that its prompts name.

        Raises InputError for a prompt that can't be read, CheckpointError as `named`.
        """
        if drawing.grammar == "a1111":
            parse(drawing.prompt)
            parse(drawing.negative)
        return drawing.model_copy(update={"embeddings": self.named(drawing.prompt, drawing.negative)})

    def hash(self, name: str) -> str:
        """The fingerprint of the file of that name. Raises ConfigError for one that is not here."""
        return fingerprint(self._place(name))

    def __getitem__(self, name: str) -> Embedding:
        """The one of that name. Raises ConfigError for one that is not here, CheckpointError as `open_embedding`."""
        return self._open(self._place(name))

    def _open(self, path: Path) -> Embedding:
        if path not in self._opened:
            self._opened[path] = open_embedding(path, self.backbone)
        return self._opened[path]

    def _place(self, name: str) -> Path:
        known = self._shelf | self._given
        if name.lower() not in known:
            raise ConfigError(
                f"no textual inversion is called {name!r}: put its file into {shelves('embedding')[0]}, or give it with"
                f" --embedding FILE; {nearest(name.lower(), sorted(known))}"
            )
        return known[name.lower()]

    @cached_property
    def _shelf(self) -> dict[str, Path]:
        """Files by name; in a plain folder of models whatever it holds, told apart when a prompt names it."""
        return {path.stem.lower(): path for path in listed("embedding") if path.is_file()}
