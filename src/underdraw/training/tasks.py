"""From a recipe to the task it names."""

import torch

from underdraw.data.batches import PictureSet
from underdraw.training.clip import ClipTask
from underdraw.training.control import ControlTask
from underdraw.training.denoiser import DenoiserTask
from underdraw.training.lora import LoraTask
from underdraw.training.pictures import learnt
from underdraw.training.pictures import watched as watched_pictures
from underdraw.training.processes import begin
from underdraw.training.reader import ReaderTask
from underdraw.training.recipe import Clip, ControlRun, Denoiser, LoraRun, ReaderRun, Recipe, Vae
from underdraw.training.trainer import Task
from underdraw.training.vae import VaeTask

__all__ = ["build_task"]


def build_task(recipe: Recipe) -> Task:
    """Read the pictures and build what learns. Raises InputError or CheckpointError for what is missing."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    begin(recipe.device)
    watched = watched_pictures(recipe.data)
    match recipe.learn:
        case ControlRun() as control:
            return ControlTask(recipe, control, learnt(recipe.data, buckets=True), watched)
        case LoraRun() as lora:
            return LoraTask(recipe, lora, learnt(recipe.data, buckets=True), watched)
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
