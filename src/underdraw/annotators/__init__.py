"""Pictures to condition maps. One file a family; an annotator is a frozen value and its knobs are its fields."""

from underdraw.annotators.boxes import Box, Boxes, Layout, read_boxes
from underdraw.annotators.colour import ColourDistribution, ColourGrid, ColourPalette, Shuffle
from underdraw.annotators.depth import Depth, DepthLayers, nearness, read_depth, write_depth
from underdraw.annotators.edges import Canny, SoftEdge
from underdraw.annotators.extract import as_hint, extract, given
from underdraw.annotators.inpaint import Inpaint, masked, read_masked
from underdraw.annotators.keypoint_files import read_coco, read_openpose, read_poses, write_coco, write_openpose
from underdraw.annotators.keypoints import Person, Poses
from underdraw.annotators.labels import Labels, OneHot, read_labels
from underdraw.annotators.learned import allow_downloads, close_networks
from underdraw.annotators.lineart import LineArt
from underdraw.annotators.mediapipe import OpenposeMediapipe
from underdraw.annotators.normals import Normal, normals
from underdraw.annotators.palettes import PALETTES, Palette
from underdraw.annotators.pose import Pose
from underdraw.annotators.protocol import (
    ANNOTATORS,
    Annotator,
    Knob,
    Meaning,
    Needs,
    annotator,
    build,
    draw_knobs,
    knob,
    knobs,
)
from underdraw.annotators.segmentation import Segmentation
from underdraw.annotators.skeleton import draw_poses
from underdraw.annotators.skeleton_reading import decode
from underdraw.annotators.straight import Lines
from underdraw.annotators.strokes import Scribble, Sketch
from underdraw.annotators.tone import Binary, Blur, Intensity, Invert, Luminance, Tile

__all__ = [
    "ANNOTATORS",
    "PALETTES",
    "Annotator",
    "Binary",
    "Blur",
    "Box",
    "Boxes",
    "Canny",
    "ColourDistribution",
    "ColourGrid",
    "ColourPalette",
    "Depth",
    "DepthLayers",
    "Inpaint",
    "Intensity",
    "Invert",
    "Knob",
    "Labels",
    "Layout",
    "LineArt",
    "Lines",
    "Luminance",
    "Meaning",
    "Needs",
    "Normal",
    "OneHot",
    "OpenposeMediapipe",
    "Palette",
    "Person",
    "Pose",
    "Poses",
    "Scribble",
    "Segmentation",
    "Shuffle",
    "Sketch",
    "SoftEdge",
    "Tile",
    "allow_downloads",
    "annotator",
    "as_hint",
    "build",
    "close_networks",
    "decode",
    "draw_knobs",
    "draw_poses",
    "extract",
    "given",
    "knob",
    "knobs",
    "masked",
    "nearness",
    "normals",
    "read_boxes",
    "read_coco",
    "read_depth",
    "read_labels",
    "read_masked",
    "read_openpose",
    "read_poses",
    "write_coco",
    "write_depth",
    "write_openpose",
]
