"""Options and arguments that several commands have, and what they say of themselves in ``--help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
Checkpoint = Annotated[Path, typer.Argument(help="Checkpoint, folder or ONNX file.", show_default=False)]
Stats = Annotated[
    str | None,
    typer.Option(help="Normalizer statistics; found by itself beside the checkpoint; 'none' where there are none."),
]
Trainer = Annotated[str | None, typer.Option(help="Trainer that wrote it, where it is not recognized.")]
ImageLayout = Annotated[
    Literal["hwc", "chw"] | None, typer.Option(help="How the environment orders images; hwc where not said.")
]
Bundle = Annotated[Path, typer.Argument(help="Bundle, as edgerl pack writes it.", show_default=False)]
