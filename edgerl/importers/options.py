"""What a user may say about a checkpoint that the checkpoint does not say itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgerl.untrusted.limits import Limits

ImageLayout = Literal["hwc", "chw"]


@dataclass(frozen=True)
class ImportOptions:
    """Options of :func:`edgerl.importers.read_checkpoint`, the same for every importer."""

    stats: Path | str | None = None
    """Normalizer statistics; ``None``: look beside the checkpoint; ``"none"``: there are none."""
    image_layout: ImageLayout | None = None
    """How the environment orders an image: height, width, channels (the default) or channels first."""
    spec: Path | None = None
    """TOML with facts that a file of this kind never holds; only adopted ONNX graphs ask for it."""
    limits: Limits = field(default_factory=Limits)
