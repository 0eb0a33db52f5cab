"""From a recipe to the task it names."""

import torch

from underdraw.data.batches import PictureSet
from underdraw.errors import ConfigError
from underdraw.training.beside import BesideTask
from underdraw.training.clip import ClipTask
from underdraw.training.control import ControlTask
from underdraw.training.control_lora import ControlLoraTask
from underdraw.training.denoiser import DenoiserTask
from underdraw.training.finetune import FinetuneTask
from underdraw.training.inversion import InversionTask
from underdraw.training.lora import LoraTask
from underdraw.training.pictures import learnt
from underdraw.training.pictures import watched as watched_pictures
from underdraw.training.processes import begin
from underdraw.training.reader import ReaderTask
from underdraw.training.recipe import (
    BesideRun,
    Clip,
    ControlRun,
    Denoiser,
    FinetuneRun,
    InversionRun,
    LoraRun,
    ReaderRun,
    Recipe,
    Vae,
)
from underdraw.training.trainer import Task
from underdraw.training.vae import VaeTask

__all__ = ["build_task"]


def build_task(recipe: Recipe) -> Task:
    """Read the pictures and build what learns.

    Raises InputError or CheckpointError for what is missing, ConfigError for what does not go together.
    """
    if recipe.precision == "bf16-weights" and recipe.learn.task in ("vae", "clip", "reader"):
        raise ConfigError(f"precision = bf16-weights is for U-Nets and what steers them, not for {recipe.learn.task}")
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    begin(recipe.device)
    watched = watched_pictures(recipe.data)
    match recipe.learn:
        case ControlRun() as control:
            kind = ControlTask if control.lora is None else ControlLoraTask
            return kind(recipe, control, learnt(recipe.data, buckets=True), watched)
        case BesideRun() as beside:
            return BesideTask(recipe, beside, learnt(recipe.data, buckets=True), watched)
        case LoraRun() as lora:
            return LoraTask(recipe, lora, learnt(recipe.data, buckets=True), watched)
        case FinetuneRun() as finetune:
            return FinetuneTask(recipe, finetune, learnt(recipe.data, buckets=True), watched)
        case InversionRun() as inversion:
            return InversionTask(recipe, inversion, learnt(recipe.data, buckets=True), watched)
    pictures = learnt(recipe.data, buckets=False)
    assert isinstance(pictures, PictureSet), "only where buckets are known, shards are read as they are"
    match recipe.learn:
        case Vae() as vae:
            return VaeTask(recipe, vae, pictures, watched)
        case Clip() as clip:
            return ClipTask(recipe, clip, pictures, watched)
        case Denoiser() as denoiser:
            return DenoiserTask(recipe, denoiser, pictures, watched)
        case ReaderRun() as reader:
            return ReaderTask(recipe, reader, pictures, watched)
