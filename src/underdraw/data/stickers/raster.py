"""From a sticker's source to pixels with alpha."""

import torch
from torch import Tensor

from underdraw import images
from underdraw.data.stickers.load import Sticker
from underdraw.errors import InputError, MissingExtra

INK = "fluent-emoji-high-contrast"
"""The set that is drawn in black alone: what its lines enclose is made white paper."""


def render(sticker: Sticker, size: int) -> Tensor:
    """4×size×size: RGB in [0, 1] and straight alpha.

    Raises InputError naming a sticker that cannot be drawn, MissingExtra without resvg_py or scipy.
    """
    return straight(premultiplied(sticker, size))


def straight(rgba: Tensor) -> Tensor:
    """Premultiplied 4×H×W with its colours divided by alpha again; black where nothing is."""
    return torch.cat([rgba[:3] / rgba[3:].clamp(min=1e-6), rgba[3:]]).clamp(0, 1)


def premultiplied(sticker: Sticker, size: int) -> Tensor:
    """As `render`, with the colours already multiplied by alpha, as resizing and laying over something need them."""
    vector = sticker.source.startswith(b"<svg")
    data = _rasterise(sticker.source, sticker.name, size) if vector else sticker.source
    over_black = images.decode(data, sticker.name, background=(0.0, 0.0, 0.0))[0]
    over_white = images.decode(data, sticker.name, background=(1.0, 1.0, 1.0))[0]
    alpha = 1 - (over_white - over_black).mean(0, keepdim=True)  # where the ground makes no difference, it is opaque
    rgba = images.resize(torch.cat([over_black, alpha]).clamp(0, 1).unsqueeze(0), (size, size))[0]
    if rgba[3].amax() < 0.5:
        raise InputError(f"{sticker.name} draws nothing")
    return _papered(rgba) if sticker.set == INK else rgba


def _rasterise(svg: bytes, name: str, size: int) -> bytes:
    """The PNG of an SVG document at size×size; a view box that is not square is centred."""
    try:
        import resvg_py
    except ImportError as error:
        raise MissingExtra("resvg_py", "stickers") from error
    try:
        sized = svg.decode().replace("<svg ", f'<svg width="{size}" height="{size}" ', 1)
        return bytes(resvg_py.svg_to_bytes(svg_string=sized, skip_system_fonts=True))
    except ValueError as error:
        raise InputError(f"{name} is a broken SVG: {str(error).splitlines()[0]}") from error


def _papered(rgba: Tensor) -> Tensor:
    """White where the ink encloses something."""
    try:
        from scipy import ndimage
    except ImportError as error:
        raise MissingExtra("scipy", "stickers") from error
    enclosed = torch.from_numpy(ndimage.binary_fill_holes(rgba[3].numpy() > 0.5)).float()
    paper = (enclosed - rgba[3]).clamp(min=0)
    return torch.cat([rgba[:3] + paper, rgba[3:] + paper])
