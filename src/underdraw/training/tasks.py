"""From a recipe to the task it names."""

import torch

from underdraw.data.shards import load_pictures
from underdraw.training.clip import ClipTask
from underdraw.training.control import ControlTask
from underdraw.training.denoiser import DenoiserTask
from underdraw.training.lora import LoraTask
from underdraw.training.reader import ReaderTask
from underdraw.training.recipe import Clip, ControlRun, Denoiser, LoraRun, ReaderRun, Recipe, Vae
from underdraw.training.trainer import Task
from underdraw.training.vae import VaeTask

__all__ = ["build_task"]


def build_task(recipe: Recipe) -> Task:
    """Read the pictures and build what learns. Raises InputError or CheckpointError for what is missing."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    pictures = load_pictures(recipe.data.folders, recipe.data.split, recipe.data.maps)
    watched = load_pictures(recipe.data.folders, recipe.data.watch_split, recipe.data.maps)
    match recipe.learn:
        case Vae() as config:
            return VaeTask(recipe, config, pictures, watched)
        case Clip() as config:
            return ClipTask(recipe, config, pictures, watched)
        case Denoiser() as config:
            return DenoiserTask(recipe, config, pictures, watched)
        case ControlRun() as config:
            return ControlTask(recipe, config, pictures, watched)
        case LoraRun() as config:
            return LoraTask(recipe, config, pictures, watched)
        case ReaderRun() as config:
            return ReaderTask(recipe, config, pictures, watched)
