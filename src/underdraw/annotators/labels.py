"""Given label maps: which class every pixel belongs to, as colours or as one channel a class."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from underdraw import images
from underdraw.annotators.palettes import PALETTES, VOID, Colour, paint
from underdraw.annotators.protocol import Annotator, Meaning, annotator, knob
from underdraw.annotators.regions import spread
from underdraw.errors import InputError

__all__ = ["LabelMap", "Labels", "OneHot", "read_labels"]

NEAR = 8
"""How far each channel of a colour may be from a class's colour, in bytes: lossy files shift them."""
NOTHING = 255
"""The id that label maps of 8 bits use for "no class"."""
AUTO = "auto"
Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LabelMap(Annotator):
    """What the annotators of given label maps share: what they read, and that nothing is ever averaged.

    They take ids B×1×H×W, or B×3×H×W in [0, 1] of a palette's colours.
    """

    suffixes: ClassVar[tuple[str, ...]] = (*images.SUFFIXES, ".npy")

    first: int = knob(0, 0, 255, "the id of the first class; smaller ids are nothing (1 in ADE20K's own files)")

    def read(self, path: str | Path) -> Tensor:
        """Ids 1×1×H×W, or colours 1×3×H×W, from a file as `read_labels` does."""
        return read_labels(path)

    def map(self, source: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """As every annotator's, but ids are picked, never averaged, when the map is made smaller or larger."""
        size = size or self.extent(source)
        seen = images.resize(images.crop(source, size), self.native(size), "nearest")
        return images.resize(self(seen), size, "nearest")

    def ids(self, source: Tensor, colours: tuple[Colour, ...], classes: int) -> Ids:
        """Ids H×W from 0 to classes - 1, or `VOID`, in 1×H×W ids or 3×H×W colours. Raises InputError for others."""
        if source.shape[0] == 1:
            return self._numbered(source[0].detach().cpu().double().numpy(), classes)
        return _in_colours(images.to_uint8(source), colours)

    def _numbered(self, values: NDArray[np.float64], classes: int) -> Ids:
        found = values.round().astype(np.int64)
        if (found != values).any() or (found < 0).any():
            raise InputError(f"{self.kind}: the ids of a label map are whole numbers from 0; these are not")
        void = (found < self.first) | ((found == NOTHING) & (classes <= NOTHING))
        found = np.where(void, VOID, found - self.first)
        if (found >= classes).any():
            told = f"id {int(found.max()) + self.first} is in the label map, but there are {classes} classes"
            raise InputError(f"{self.kind}: {told} from {self.first} on; is it a label map?")
        return found


@annotator("labels", condition="segmentation")
class Labels(LabelMap):
    """Classes as flat colours, from a given label map: an index or grey PNG of ids, colours, or a cut-out's alpha.

    Says what is where: paint or correct the map by hand and the picture follows. Ids are drawn in ADE20K's published
    colours, which segmentation ControlNets know; files of colours keep theirs, cleaned of what lies between two; a
    cut-out becomes a white figure on black.
    """

    meaning: ClassVar[Meaning] = Meaning(channels=3, polarity="one flat colour a class", reduction="nearest")

    palette: str = knob(
        AUTO, help="the colours; auto: those of the file, or ADE20K's for ids", choices=(AUTO, *PALETTES)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.palette != AUTO:
            object.__setattr__(self, "meaning", replace(type(self).meaning, palette=PALETTES[self.palette].colours))

    def read(self, path: str | Path) -> Tensor:
        """As `read_labels`; where the palette is "auto", a cut-out is black and white, and an index file colours."""
        return read_labels(path, coloured=self.palette == AUTO)

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×1×H×W ids, or B×3×H×W of flat colours → B×3×H×W. Raises InputError for what is no label map."""
        return torch.stack([self._drawn(picture) for picture in pictures]).to(pictures.device)

    def _drawn(self, picture: Tensor) -> Tensor:
        colours = PALETTES["ade20k" if self.palette == AUTO else self.palette].colours
        if self.palette == AUTO and len(picture) == 3:
            colours = _own_colours(images.to_uint8(picture))
        return images.from_uint8(paint(self.ids(picture, colours, len(colours)), colours))


@annotator("onehot", condition="onehot")
class OneHot(LabelMap):
    """One channel a class, 1 where the class is, from a given label map.

    For ControlNets trained with that many hint channels: no two classes look alike, whatever their colours.
    """

    meaning: ClassVar[Meaning] = Meaning(
        channels=150, polarity="1 where the class is", reduction="nearest", binary=True
    )

    classes: int = knob(150, 2, 1024, "how many classes, and channels")
    palette: str = knob("ade20k", help="whose colours a coloured label map has", choices=tuple(PALETTES))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "meaning", replace(type(self).meaning, channels=self.classes))

    def __call__(self, pictures: Tensor) -> Tensor:
        """B×1×H×W ids, or B×3×H×W of the palette's colours → B×classes×H×W of 0 and 1."""
        colours = PALETTES[self.palette].colours[: self.classes]
        found = np.stack([self.ids(picture, colours, self.classes) for picture in pictures])
        ids = torch.from_numpy(found % (self.classes + 1))[:, None]  # VOID comes last
        empty = torch.zeros(len(ids), self.classes + 1, *ids.shape[2:])
        return empty.scatter_(1, ids, 1.0)[:, :-1].to(pictures.device)

    def show(self, maps: Tensor) -> Tensor:
        """B×classes×H×W as B×3×H×W in the palette's colours (used again from the first on, if there are too few)."""
        names = torch.where(maps.amax(1) > 0, maps.argmax(1), VOID).cpu().numpy()
        colours = PALETTES[self.palette].colours
        wrapped = np.where(names < 0, VOID, names % len(colours))
        return torch.stack([images.from_uint8(paint(one, colours)) for one in wrapped])


def read_labels(path: str | Path, coloured: bool = False) -> Tensor:
    """A label map from a file: ids 1×1×H×W as floats, or colours 1×3×H×W in [0, 1].

    Ids: `.npy` of whole numbers, index ("palette") files, grey files of 8 or 16 bits; 0 and 1 where a file's only greys
    are black and white, or from the alpha of a cut-out. coloured: index files, black-and-white ones and cut-outs are
    returned as colours. Raises InputError for files that are neither.
    """
    if Path(path).suffix.lower() == ".npy":
        return _tensor(_array(path))
    picture = images.read(path)
    with Image.open(path) as file:
        upright = ImageOps.exif_transpose(file)
        values = np.asarray(upright.getchannel("A") if upright.mode in ("RGBA", "LA") else upright)
    if upright.mode in ("RGBA", "LA") and len(np.unique(values)) > 1:
        return _figure(values > 127, coloured)
    if upright.mode == "1" or (upright.mode == "L" and set(np.unique(values)) == {0, 255}):
        return _figure(values > 0, coloured)
    if upright.mode == "P":
        return picture if coloured else _tensor(values)
    return _tensor(values) if upright.mode == "L" or upright.mode.startswith("I") else picture


def _figure(inside: NDArray[np.bool_], coloured: bool) -> Tensor:
    mask = _tensor(inside)
    return mask.expand(-1, 3, -1, -1) if coloured else mask


def _tensor(values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[None, None]


def _array(path: str | Path) -> NDArray[np.generic]:
    try:
        values: NDArray[np.generic] = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"cannot read labels {path}: it is not an array written by numpy.save") from error
    if values.ndim != 2 or values.dtype.kind not in "iub" or min(values.shape) < images.MIN_SIDE:
        told = f"{values.dtype} of shape {values.shape}"
        raise InputError(f"labels {path} are {told}; they must be whole numbers, height × width")
    return values


def _packed(pixels: NDArray[np.uint8]) -> Ids:
    """A number for each colour …×3."""
    wide = pixels.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _own_colours(pixels: NDArray[np.uint8]) -> tuple[Colour, ...]:
    """The colours that stand for classes in H×W×3: they fill squares of 2×2, what blends does not. Black is none."""
    packed = _packed(pixels)
    numbers, counts = np.unique(packed[:-1, :-1][_squares(packed)], return_counts=True)
    if len(numbers) > NOTHING:  # a lossy file: what is rare is its noise
        numbers = numbers[counts >= packed.size // 2000]
    if len(numbers) > NOTHING or np.isin(packed, numbers).mean() < 0.5:
        raise InputError(
            "this is no label map: it has no flat colours; `segmentation` makes regions of a photograph, "
            "a learned annotator names them"
        )
    return tuple((int(n) >> 16, int(n) >> 8 & 255, int(n) & 255) for n in numbers if n)


def _squares(values: Ids) -> NDArray[np.bool_]:
    """(H-1)×(W-1): whether the square of 2×2 pixels that begins there is of one value."""
    corner = values[:-1, :-1]
    same: NDArray[np.bool_] = (corner == values[1:, :-1]) & (corner == values[:-1, 1:]) & (corner == values[1:, 1:])
    return same


def _in_colours(pixels: NDArray[np.uint8], colours: tuple[Colour, ...]) -> Ids:
    """Ids of H×W×3: the class of that colour, black is none; other pixels take the id of the nearest that has one.

    A colour that is near a class's, but not equal, counts where it fills squares of 2×2: blends of two others do not.
    """
    numbers, where = np.unique(_packed(pixels), return_inverse=True)
    unpacked = np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], -1)
    best, far = np.zeros(len(numbers), np.int64), np.full(len(numbers), 256)
    for each, colour in enumerate([*colours, (0, 0, 0)]):
        away = np.abs(unpacked - np.array(colour)).max(-1)
        best, far = np.where(away < far, each, best), np.minimum(away, far)
    ids, away = (values[where].reshape(pixels.shape[:2]) for values in (best, far))
    solid = np.pad(_squares(np.where(away <= NEAR, ids, VOID - np.arange(ids.size).reshape(ids.shape))), 1)
    solid = solid[1:, 1:] | solid[:-1, 1:] | solid[1:, :-1] | solid[:-1, :-1]
    pure = (away == 0) | solid
    if pure.mean() < 0.5:
        raise InputError("the colours of this label map are not the palette's; name the one that it has, or auto")
    return spread(np.where(ids == len(colours), VOID, ids), pure)
