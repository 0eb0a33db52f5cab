"""Small networks of the published architectures with random weights, saved as the hub has them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    BeitConfig,
    BitConfig,
    CLIPTokenizer,
    ConvNextConfig,
    DepthAnythingConfig,
    Dinov2Config,
    DPTConfig,
    Mask2FormerConfig,
    MobileNetV2Config,
    MobileViTConfig,
    OneFormerConfig,
    RTDetrConfig,
    RTDetrResNetConfig,
    SegformerConfig,
    SwinConfig,
    UperNetConfig,
    VitPoseBackboneConfig,
    VitPoseConfig,
    ZoeDepthConfig,
)

from underdraw.annotators.learned import Weights

FOUR = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
NECK = {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}
SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2, "image_size": 64}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
SQUARE = {"size": {"height": 64, "width": 64}}


def _save(folder: Path, model: Any, processor: Any) -> Path:
    for tensor in model.parameters():  # far from the library's tiny initial values, so that pictures matter
        if tensor.ndim > 1:
            torch.nn.init.normal_(tensor, std=0.5 / tensor[0].numel() ** 0.5 + 0.1)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def dpt(folder: Path) -> Path:
    config = DPTConfig(**FOUR, **NECK, image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3])
    return _save(folder, transformers.DPTForDepthEstimation(config), transformers.DPTImageProcessorPil(**SQUARE))


def dpt_hybrid(folder: Path) -> Path:
    bit = BitConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 32],
        depths=[1, 1, 1],
        num_groups=2,
        layer_type="bottleneck",
        out_features=["stage1", "stage2", "stage3"],
        embedding_dynamic_padding=True,
        global_padding="same",
    )
    config = DPTConfig(
        **FOUR,
        is_hybrid=True,
        backbone_config=bit,
        backbone_featmap_shape=[1, 32, 4, 4],
        image_size=64,
        patch_size=16,
        neck_hidden_sizes=[8, 16, 16, 16],
        fusion_hidden_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        reassemble_factors=[1, 1, 1, 0.5],
        neck_ignore_stages=[0, 1],
        readout_type="project",
    )
    return _save(folder, transformers.DPTForDepthEstimation(config), transformers.DPTImageProcessorPil(**SQUARE))


def depth_anything(folder: Path, kind: str = "relative") -> Path:
    dino = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=56,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=dino,
        reassemble_hidden_size=16,
        **NECK,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=20 if kind == "metric" else 1,
    )
    processor = transformers.DPTImageProcessorPil(
        size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14
    )
    return _save(folder, transformers.DepthAnythingForDepthEstimation(config), processor)


def zoe(folder: Path) -> Path:
    beit = BeitConfig(
        **FOUR,
        image_size=64,
        patch_size=16,
        use_relative_position_bias=True,
        use_shared_relative_position_bias=False,
        reshape_hidden_states=False,
        out_indices=[1, 2, 3, 4],
        out_features=None,
    )
    config = ZoeDepthConfig(
        backbone_config=beit,
        **NECK,
        bottleneck_features=8,
        num_relative_features=8,
        bin_embedding_dim=8,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
    )
    processor = transformers.ZoeDepthImageProcessorPil(size={"height": 64, "width": 64}, ensure_multiple_of=32)
    return _save(folder, transformers.ZoeDepthForDepthEstimation(config), processor)


def segformer(folder: Path, classes: int = 150) -> Path:
    config = SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        num_labels=classes,
    )
    processor = transformers.SegformerImageProcessorPil(**SQUARE)
    return _save(folder, transformers.SegformerForSemanticSegmentation(config), processor)


def upernet(folder: Path) -> Path:
    convnext = ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=STAGES)
    config = UperNetConfig(
        backbone_config=convnext, hidden_size=16, auxiliary_in_channels=16, auxiliary_channels=8, num_labels=150
    )
    processor = transformers.SegformerImageProcessorPil(**SQUARE)
    return _save(folder, transformers.UperNetForSemanticSegmentation(config), processor)


def mask2former(folder: Path) -> Path:
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(**SWIN, out_features=STAGES),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=8,
        num_labels=150,
    )
    processor = transformers.Mask2FormerImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 128})
    return _save(folder, transformers.Mask2FormerForUniversalSegmentation(config), processor)


def oneformer(folder: Path, classes: int = 150) -> Path:
    config = OneFormerConfig(
        backbone_config=SwinConfig(**SWIN, out_features=STAGES),
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        query_dec_layers=1,
        num_attention_heads=2,
        num_queries=8,
        text_encoder_width=32,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=600,
        task_seq_len=77,
        num_labels=classes,
    )
    processor = transformers.OneFormerImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 128})
    _save(folder, transformers.OneFormerForUniversalSegmentation(config), processor)
    page = folder / "preprocessor_config.json"  # as it is published: it names files of another repository
    told = {"class_info_file": "ade20k_panoptic.json", "repo_path": "shi-labs/oneformer_demo"}
    page.write_text(json.dumps(json.loads(page.read_text()) | told))
    _tokenizer(folder)
    return folder


def _tokenizer(folder: Path) -> None:
    """CLIP's layout with the letters alone: a vocabulary of 514 and no merges."""
    alphabet = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    words = [*alphabet, *(letter + "</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77).save_pretrained(folder)


def mobilenet(folder: Path) -> Path:
    config = MobileNetV2Config(depth_multiplier=0.25, finegrained_output=False, output_stride=8, num_labels=21)
    processor = transformers.MobileNetV2ImageProcessorPil(
        size={"shortest_edge": 72}, crop_size={"height": 64, "width": 64}, do_center_crop=False
    )
    return _save(folder, transformers.MobileNetV2ForSemanticSegmentation(config), processor)


def mobilevit(folder: Path) -> Path:
    config = MobileViTConfig(
        hidden_sizes=[16, 16, 16],
        neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16],
        aspp_out_channels=16,
        num_attention_heads=2,
        image_size=64,
        output_stride=16,
        num_labels=21,
    )
    processor = transformers.MobileViTImageProcessorPil(size={"shortest_edge": 64}, do_center_crop=False)
    return _save(folder, transformers.MobileViTForSemanticSegmentation(config), processor)


def rtdetr(folder: Path) -> Path:
    resnet = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=resnet,
        encoder_in_channels=[8, 16, 16],
        encoder_hidden_dim=16,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_in_channels=[16, 16, 16],
        d_model=16,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        decoder_layers=1,
        num_queries=6,
        num_denoising=0,
        hidden_expansion=1.0,
        id2label={0: "person"},
        label2id={"person": 0},
    )
    processor = transformers.RTDetrImageProcessorPil(**SQUARE)
    return _save(folder, transformers.RTDetrForObjectDetection(config), processor)


def vitpose(folder: Path, experts: int = 1) -> Path:
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48],
        patch_size=[8, 8],
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        num_experts=experts,
        part_features=8 if experts > 1 else 0,
        out_indices=[2],
    )
    config = VitPoseConfig(backbone_config=backbone, use_simple_decoder=True, num_labels=17)
    processor = transformers.VitPoseImageProcessorPil(size={"height": 64, "width": 48})
    return _save(folder, transformers.VitPoseForPoseEstimation(config), processor)


def put(store: Path, weights: Weights, make: Callable[[Path], Path]) -> Path:
    """Save a network where the store expects the published one."""
    torch.manual_seed(0)
    return make(store / weights.place)
