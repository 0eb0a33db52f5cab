"""Renders the rooms in `pictures/rooms`: two depth maps (16-bit, near = white) and a picture.

Run: python examples/make_rooms.py [FOLDER]

The seeds are of the report split, so no model was trained on them.
"""

import sys
from pathlib import Path

from underdraw import images
from underdraw.annotators import write_depth
from underdraw.data.scenes import records

SIZE = (256, 256)
DEPTHS = {"table-depth": 102, "mannequin-depth": 113}
PICTURES = {"sofa": 108}


def main(folder: Path) -> None:
    """Write all of them."""
    for name, seed in DEPTHS.items():
        write_depth(next(records([seed], SIZE)).maps["depth"][None], folder / f"{name}.png")
    for name, seed in PICTURES.items():
        images.write(next(records([seed], SIZE)).image, folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures" / "rooms")
