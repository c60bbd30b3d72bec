"""The command line: parses, calls one function, prints. Heavy modules are imported by the command that needs them.

Exit codes: 0 done; 1 an :class:`~edgerl.errors.EdgerlError`; 2 wrong usage; 3 a gate said no. Anything else is a bug
and shows its traceback.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgerl import console, presentation
from edgerl.errors import EdgerlError, GateFailed

app = typer.Typer(
    name="edgerl",
    help="From a trained reinforcement-learning policy to a robot controller, safely and fast.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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


def main() -> None:
    """Run the command line and leave with its exit code."""
    as_json = "--json" in sys.argv
    try:
        app()
    except EdgerlError as error:
        console.show_error(error, as_json=as_json)
        sys.exit(error.exit_code)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("edgerl"))
        raise typer.Exit


@app.callback()
def _options(
    _version_: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def export(
    checkpoint: Checkpoint,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The ONNX file to write.")] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="Recorded observations and actions of the trainer (.npz), to check parity against."),
    ] = None,
    stats: Stats = None,
    spec: Annotated[
        Path | None,
        typer.Option(help="TOML file with what the checkpoint does not say."),
    ] = None,
    template: Annotated[bool, typer.Option("--template", help="Print that TOML file, to fill in, and stop.")] = False,
    trainer: Trainer = None,
    image_layout: ImageLayout = None,
    as_json: Json = False,
) -> None:
    """Export a checkpoint to ONNX, with its golden set and its certificate."""
    from edgerl import export as exporting

    if template:
        text = exporting.checkpoint_template(checkpoint, stats=stats, trainer=trainer, image_layout=image_layout)
        typer.echo(text, nl=False)
        return
    if output is None:
        raise typer.BadParameter("name the ONNX file to write: -o policy.onnx", param_hint="-o")
    with console.display(quiet=as_json) as on_stage:
        result = exporting.export_checkpoint(
            checkpoint,
            truth=truth,
            stats=stats,
            spec=spec,
            trainer=trainer,
            image_layout=image_layout,
            on_progress=on_stage,
        )
        exporting.save_export(result, output)
    paths = [str(path) for path in (output, *exporting.export_paths(output))]
    if as_json:
        console.show_json({"certificate": result.certificate, "files": paths})
    else:
        presentation.show_certificate(result.certificate)
        console.note("wrote " + ", ".join(paths))


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="Checkpoint, ONNX file, bundle or recording.", show_default=False)],
    stats: Stats = None,
    trainer: Trainer = None,
    as_json: Json = False,
) -> None:
    """Show what is in a file; nothing in it is executed."""
    from edgerl.artifacts import describe

    description = describe(path, stats=stats, trainer=trainer)
    if as_json:
        console.show_json(description)
    else:
        console.show(description, str(path))


@app.command()
def diff(
    left: Annotated[Path, typer.Argument(help="ONNX file or bundle.", show_default=False)],
    right: Annotated[Path, typer.Argument(help="Another of the same kind.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show in what two models or two bundles differ."""
    from edgerl.artifacts import compare

    comparison = compare(left, right)
    if as_json:
        console.show_json(comparison)
    else:
        presentation.show_comparison(comparison)


@app.command()
def pack(
    policy: Annotated[Path, typer.Argument(help="ONNX file, as edgerl export writes it.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle to write.", show_default=False)],
    target: Annotated[str, typer.Option(help="Where it will run; see edgerl targets.", show_default=False)],
    envelope: Annotated[
        Path | None,
        typer.Option(help="TOML file with limits, budgets and fallback; otherwise derived from the action box."),
    ] = None,
    golden: Annotated[Path | None, typer.Option(help="Golden set, where it is not beside the policy.")] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="Certificate of the export, where it is not beside the policy."),
    ] = None,
    release: Annotated[int, typer.Option(help="Release number; robots refuse to go back.")] = 1,
    as_json: Json = False,
) -> None:
    """Pack a policy with its limits and its golden set into one verified file."""
    from edgerl.bundle import describe_bundle, pack_files

    bundle = pack_files(
        policy, output, target=target, envelope=envelope, golden=golden, certificate=certificate, release=release
    )
    if as_json:
        console.show_json(describe_bundle(bundle))
    else:
        presentation.show_claims(bundle.manifest.claims)
        console.note(f"wrote {output}, digest {bundle.digest}")


@app.command()
def verify(bundle: Bundle, as_json: Json = False) -> None:
    """Check every digest of a bundle, run its golden set and replay it through its envelope."""
    from edgerl.bundle import verify_bundle

    verification = verify_bundle(bundle)
    if as_json:
        console.show_json(verification)
    else:
        presentation.show_claims(verification.claims)
    if verification.status == "failed":
        raise typer.Exit(GateFailed.exit_code)


@app.command()
def run(
    bundle: Bundle,
    robot: Annotated[str, typer.Option(help="gym:ENV_ID or udp:HOST:PORT.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Seed of a gym: robot's first episode.")] = 0,
    episodes: Annotated[int, typer.Option(help="Episodes of a gym: robot.", min=1)] = 1,
    realtime_s: Annotated[
        float | None,
        typer.Option("--realtime", help="Seconds in real time before a gym: robot goes on in lockstep.", min=0),
    ] = None,
    ticks: Annotated[int | None, typer.Option(help="Stop after so many ticks.", min=1)] = None,
    recording: Annotated[Path | None, typer.Option(help="File to record every tick in.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML file to write a report into.")] = None,
    as_json: Json = False,
) -> None:
    """Drive a robot with a bundle."""
    from edgerl.run import run_file
    from edgerl.runtime.run import RunOptions

    realtime = math.inf if realtime_s is None else realtime_s
    options = RunOptions(seed=seed, episodes=episodes, realtime_s=realtime, ticks=ticks)
    with presentation.run_progress(quiet=as_json) as on_progress:
        result = run_file(bundle, robot, recording=recording, report=report, options=options, on_progress=on_progress)
    if as_json:
        console.show_json(result)
    else:
        presentation.show_run(result)
    if result.ended in ("fault", "estop"):
        raise typer.Exit(GateFailed.exit_code)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")] = Path("out/demo"),
    as_json: Json = False,
) -> None:
    """Export, check, pack and run a policy trained on HalfCheetah, from checkpoint to report."""
    from edgerl.demo import run_demo

    with presentation.run_progress(quiet=as_json) as on_progress:
        result = run_demo(output, on_stage=None if as_json else console.note, on_progress=on_progress)
    if as_json:
        console.show_json(result)
    else:
        presentation.show_demo(result)
    if not result.passed:
        raise typer.Exit(GateFailed.exit_code)


@app.command()
def targets(as_json: Json = False) -> None:
    """List the boards and machines that engines are built for."""
    from edgerl.target import known_targets, load_target

    found = [load_target(name) for name in known_targets()]
    if as_json:
        console.show_json(found)
        return
    rows = [
        [one.name, one.arch, ", ".join(f"{name} ({'/'.join(p)})" for name, p in one.backends.items()), one.description]
        for one in found
    ]
    console.show_table("Targets", ["name", "CPU", "backends", "what it is"], rows)


@app.command()
def modes(as_json: Json = False) -> None:
    """Print the table that the guardian runs by: what is sent in each mode, whatever happens."""
    from edgerl.runtime.core import modes_table

    rows = modes_table()
    if as_json:
        console.show_json(rows)
    else:
        cells = [[row.mode, row.event, row.source, row.next_mode] for row in rows]
        console.show_table("Mode table", ["mode", "event", "this tick's command", "next mode"], cells)
