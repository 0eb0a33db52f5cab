"""Annotators that others' networks draw: a store of weights, and one file a family."""

from underdraw.annotators.learned.depth import DepthAnything, DepthAnythingV2, DepthLeres, DepthMidas, DepthZoe
from underdraw.annotators.learned.dwpose import DwPose
from underdraw.annotators.learned.fetching import allow_downloads, fetch
from underdraw.annotators.learned.lines import (
    LineArtAnime,
    LineArtRealistic,
    Mlsd,
    ScribbleHed,
    ScribblePidiNet,
    SoftEdgeAnyline,
    SoftEdgeHed,
    SoftEdgePidiNet,
    SoftEdgeTeed,
)
from underdraw.annotators.learned.networks import close_networks
from underdraw.annotators.learned.normals import NormalBae, NormalMidas
from underdraw.annotators.learned.pose import OpenPose, VitPose
from underdraw.annotators.learned.segmentation import (
    SegDeepLab,
    SegMask2Former,
    SegOneFormer,
    SegOneFormerCoco,
    SegSegFormer,
    SegUperNet,
)
from underdraw.annotators.learned.weights import Weights

__all__ = [
    "DepthAnything",
    "DepthAnythingV2",
    "DepthLeres",
    "DepthMidas",
    "DepthZoe",
    "DwPose",
    "LineArtAnime",
    "LineArtRealistic",
    "Mlsd",
    "NormalBae",
    "NormalMidas",
    "OpenPose",
    "ScribbleHed",
    "ScribblePidiNet",
    "SegDeepLab",
    "SegMask2Former",
    "SegOneFormer",
    "SegOneFormerCoco",
    "SegSegFormer",
    "SegUperNet",
    "SoftEdgeAnyline",
    "SoftEdgeHed",
    "SoftEdgePidiNet",
    "SoftEdgeTeed",
    "VitPose",
    "Weights",
    "allow_downloads",
    "close_networks",
    "fetch",
]
