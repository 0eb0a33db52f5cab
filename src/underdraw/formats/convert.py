"""Files into other forms of the same: names and precision change, and nothing else does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from underdraw.errors import ConfigError
from underdraw.files import atomic
from underdraw.formats.base_writing import write_base_file, write_base_folder, write_part
from underdraw.formats.bases import read_base, read_vae
from underdraw.formats.control_writing import RANK, write_control_file, write_control_folder, write_control_lora
from underdraw.formats.controls import ControlParts, read_control, transferred
from underdraw.formats.detect import Facts, detect, refuse_foreign
from underdraw.formats.families import FAMILIES, Family
from underdraw.formats.lora import read_lora, write_lora
from underdraw.formats.merging import Loud, merged
from underdraw.formats.opening import settled
from underdraw.formats.parts import Part
from underdraw.formats.places import locate_base
from underdraw.formats.single import Report
from underdraw.formats.t2i import adapter_to_original, read_adapter
from underdraw.formats.vae_names import vae_to_original
from underdraw.formats.writing import told, write_tensors

__all__ = ["FORMS", "Job", "convert", "report_lines"]

FORMS: dict[str, tuple[str, ...]] = {
    "base": ("original", "diffusers"),
    "vae": ("original", "diffusers"),
    "controlnet": ("original", "diffusers", "control-lora"),
    "control-lora": ("original", "diffusers", "control-lora"),
    "t2i-adapter": ("original", "diffusers"),
    "lora": ("kohya", "diffusers"),
}
"""What each kind can become."""


@dataclass(frozen=True)
class Job:
    """One conversion.

    to: a form of `FORMS`. dtype: of the floats; None leaves each as it is. base: the base that a control was made for
    (its name or place), or that says a VAE's family. onto: another base of the family, to which the control is moved.
    rank: of a Control-LoRA. loras: what a base's weights become one with.
    """

    source: Path
    target: Path
    to: str
    dtype: torch.dtype | None = None
    base: str | None = None
    onto: str | None = None
    rank: int = RANK
    loras: tuple[Loud, ...] = ()


def convert(job: Job) -> tuple[Facts, list[str]]:
    """Do it: what the source is, and what there is to say of it, a line each.

    Raises ConfigError for a form that the kind has not, CheckpointError for a source that can't be read.
    """
    facts = detect(job.source)
    refuse_foreign(facts)
    forms = FORMS.get(facts.kind, ())
    if job.to not in forms:
        can = f"it can become {', '.join(forms)}" if forms else "it has no other form"
        raise ConfigError(f"{job.source} is a {facts.kind}; {can}, not {job.to}")
    is_file = _is_file(facts, job)
    if is_file and job.target.suffix != ".safetensors":
        raise ConfigError(f"output {job.target} must end with .safetensors")
    if not is_file and job.target.suffix in (".safetensors", ".ckpt", ".pth"):
        raise ConfigError(f"output {job.target} will be a folder; give it a name without {job.target.suffix}")
    if job.onto and not (facts.kind.startswith("control") and job.base):
        raise ConfigError("--onto moves a control from one base to another; give --base, too, the one it was made for")
    if job.loras and facts.kind != "base":
        raise ConfigError(f"--lora puts LoRAs into a base, and {job.source} is a {facts.kind}; give a base")
    return facts, list(_CONVERTERS[facts.kind](job))


def report_lines(report: Report) -> Iterator[str]:
    """What became of a base's tensors, in words."""
    yield f"{report.read:,} tensors read"
    for why, count in report.ignored.items():
        yield f"{count:,} left out: {why}"
    if report.unknown:
        shown = ", ".join(report.unknown[:3]) + (" …" if len(report.unknown) > 3 else "")
        yield f"{len(report.unknown):,} unknown, left out: {shown}"


def _is_file(facts: Facts, job: Job) -> bool:
    return job.to in ("original", "control-lora", "kohya") or facts.kind == "lora"


def _base(job: Job) -> Iterator[str]:
    parts = read_base(job.source)
    if parts.prediction is None:
        parts = settled(parts)
        yield f"the file does not say what it predicts; the U-Net itself was asked: {parts.prediction}"
    if job.loras:
        parts = merged(parts, job.loras)
        yield "merged: " + ", ".join(f"{each.path.stem} at {each.weight:g}" for each in job.loras)
    if job.to == "original":
        write_base_file(parts, job.target, job.dtype)
    else:
        write_base_folder(parts, job.target, job.dtype)
    yield from report_lines(parts.report)


def _vae(job: Job) -> Iterator[str]:
    family = _family(job)
    part = read_vae(job.source, family)
    if job.to == "original":
        tensors = vae_to_original(part.tensors, part.config, job.source)
        write_tensors(tensors, job.target, job.dtype, told(kind="vae", vae=dict(part.config)))
    else:
        _write_folder(part, job)
    yield f"its latents are scaled by {part.config.get('scaling_factor')}; --base NAME says of which family it is"


def _control(job: Job) -> Iterator[str]:
    base = read_base(locate_base(job.base)).unet if job.base else None
    parts = read_control(job.source, base)
    if job.onto and base:
        onto = read_base(locate_base(job.onto)).unet
        parts, base = transferred(parts, base.tensors, onto.tensors), onto
        yield f"moved from {job.base} to {job.onto}: control + new - old"
    if job.to == "control-lora":
        yield _factor(parts, base, job)
    elif job.to == "original":
        write_control_file(parts, job.target, job.dtype)
    else:
        write_control_folder(parts, job.target, job.dtype)
    if parts.about.conditions:
        yield f"for {', '.join(parts.about.conditions)}: {parts.about.hint}"


def _factor(parts: ControlParts, base: Part | None, job: Job) -> str:
    if base is None:
        raise ConfigError("a Control-LoRA holds what differs from a base; say from which: --base NAME")
    made = write_control_lora(parts, base.tensors, job.target, job.rank, job.dtype)
    layer, worst = made.worst
    return (
        f"rank {job.rank} loses {100 * made.error:.2f} % of the difference from the base "
        f"(most in {layer}: {100 * worst:.2f} %)"
    )


def _adapter(job: Job) -> Iterator[str]:
    part, about = read_adapter(job.source)
    if job.to == "original":
        write_tensors(adapter_to_original(part, job.source), job.target, job.dtype, told(**about.said()))
    else:
        _write_folder(part, job)
    yield f"{part.config['adapter_type']}, maps of {part.config['in_channels']} channels"


def _lora(job: Job) -> Iterator[str]:
    file = read_lora(job.source)
    write_lora(file.lora, job.target, job.to, file.metadata, job.dtype)
    yield f"{len(file.lora.adapters)} layers"


def _write_folder(part: Part, job: Job) -> None:
    with atomic(job.target) as draft:
        write_part(part, draft, job.source, job.dtype)


def _family(job: Job) -> Family:
    """The family of the base that is named, or else the one that the file's own name speaks of."""
    names = {family.short: family for family in FAMILIES.values()} | FAMILIES
    if job.base is None:
        return names["sdxl" if "xl" in job.source.stem.lower() else "sd1"]
    return names[job.base] if job.base in names else read_base(locate_base(job.base)).family


_CONVERTERS: dict[str, Callable[[Job], Iterator[str]]] = {
    "base": _base,
    "vae": _vae,
    "controlnet": _control,
    "control-lora": _control,
    "t2i-adapter": _adapter,
    "lora": _lora,
}
