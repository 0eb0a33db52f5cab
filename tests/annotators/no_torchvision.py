"""A stand-in for torchvision, which does not import beside torch's build for processors: what controlnet_aux uses.

Everything else that is imported from it (timm does so) is an empty class.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

InterpolationMode = Enum(
    "InterpolationMode", ["NEAREST", "NEAREST_EXACT", "BILINEAR", "BICUBIC", "BOX", "HAMMING", "LANCZOS"]
)


class Compose:
    def __init__(self, steps: list[Any]) -> None:
        self.steps = steps

    def __call__(self, picture: Any) -> Any:
        for step in self.steps:
            picture = step(picture)
        return picture


class Normalize:
    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __call__(self, picture: Tensor) -> Tensor:
        return (picture - self.mean.to(picture)) / self.std.to(picture)


class ToTensor:
    def __call__(self, picture: NDArray[Any]) -> Tensor:
        values = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        return values.float() / 255 if picture.dtype == np.uint8 else values


KNOWN = {
    "Compose": Compose,
    "InterpolationMode": InterpolationMode,
    "Normalize": Normalize,
    "ToTensor": ToTensor,
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        mine = name.split(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if mine else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)

        def part(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return module if name == "transforms" else KNOWN.get(name) or type(name, (torch.nn.Module,), {})

        module.__dict__["__getattr__"] = part
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextmanager
def stand_in() -> Iterator[None]:
    """While the block lasts, `import torchvision` gives the stand-in; then what was imported with it is forgotten."""
    finder, before = _Finder(), set(sys.modules)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.split(".")[0] in ("torchvision", "timm", "controlnet_aux"):
                del sys.modules[name]
