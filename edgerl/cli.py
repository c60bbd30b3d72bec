"""The command line: parses, calls one function, prints. Heavy modules are imported by the command that needs them.

Exit codes: 0 done; 1 an :class:`~edgerl.errors.EdgerlError`; 2 wrong usage; 3 a gate said no; 130 Ctrl-C before or
after the robot was driven. Anything else is a bug and shows its traceback. With ``--json`` each of them prints one
document.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final, cast

import typer

from edgerl import cli_bench, cli_control, cli_run, console, presentation
from edgerl.cli_options import Bundle, Checkpoint, ImageLayout, Json, Stats, Trainer
from edgerl.errors import EdgerlError, GateFailed

app = typer.Typer(
    name="edgerl",
    help="From a trained reinforcement-learning policy to a robot controller, safely and fast.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED: Final = 130
"""As shells count it: 128 + SIGINT."""
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
"""What the parser raises at any wrong usage; typer does not give it a public name."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    as_json = "--json" in sys.argv
    try:
        _refuse_names_that_are_no_text()
        code = app(standalone_mode=not as_json)
    except EdgerlError as error:
        console.show_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except _UsageError as error:
        console.show_json_error("UsageError", error.format_message(), error.exit_code)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, ImportError) as error:
        if not _was_interrupted(error):
            raise
        code = INTERRUPTED
    if code == INTERRUPTED and as_json:
        console.show_json_error("Interrupted", "Stopped by Ctrl-C before it was done.", INTERRUPTED)
    sys.exit(code)


def _refuse_names_that_are_no_text() -> None:
    for word in sys.argv[1:]:
        if any("\ud800" <= one <= "\udfff" for one in word):  # how Python carries bytes that are no UTF-8
            raise EdgerlError(
                f"{word!r} is not valid UTF-8. edgerl writes the names of files into its own, so they have to be text; "
                "rename the file."
            )


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the root of an error; a native module that it hits while loading turns it into another."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("edgerl"))
        raise typer.Exit


def _targets(begun: str) -> list[str]:
    from edgerl.target import known_targets

    return [name for name in known_targets() if name.startswith(begun)]


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
        if output is not None or truth is not None or spec is not None:
            raise typer.BadParameter("exports nothing, so leave -o, --truth and --spec away", param_hint="--template")
        text = exporting.checkpoint_template(checkpoint, stats=stats, trainer=trainer, image_layout=image_layout)
        if as_json:
            console.show_json({"template": text})
        else:
            typer.echo(text, nl=False)
        return
    if output is None:
        raise typer.BadParameter("name the ONNX file to write: -o policy.onnx", param_hint="-o")
    if output.resolve() == checkpoint.resolve():
        raise typer.BadParameter("this is the file that is read; choose another name", param_hint="-o")
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
        from edgerl.inspection import show_description

        show_description(description, str(path))


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
    target: Annotated[
        str, typer.Option(help="Where it will run; see edgerl targets.", show_default=False, autocompletion=_targets)
    ],
    envelope: Annotated[
        Path | None,
        typer.Option(help="TOML file with limits, budgets and fallback; otherwise derived from the action box."),
    ] = None,
    golden: Annotated[Path | None, typer.Option(help="Golden set, where it is not beside the policy.")] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="Certificate of the export, where it is not beside the policy."),
    ] = None,
    release: Annotated[int, typer.Option(help="Release number; robots refuse to go back.", min=1)] = 1,
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


cli_run.add_to(app)
cli_control.add_to(app)


@app.command()
def doctor(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle that is to run here.", show_default=False)] = None,
    rate_hz: Annotated[
        float | None, typer.Option("--rate", help="Judge for this rate in Hz, and not for the bundle's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Examine whether this machine is fit for a bundle's rate, and say what mends it; nothing is changed."""
    if rate_hz is not None and not 0.001 <= rate_hz <= 1e6:
        raise typer.BadParameter(f"{rate_hz:g} Hz; expected 0.001 to 1,000,000", param_hint="--rate")
    from edgerl.bundle.load import load_bundle
    from edgerl.deploy.doctor import examine

    loaded = load_bundle(bundle) if bundle else None
    examination = examine(bundle=loaded, period_ns=round(1e9 / rate_hz) if rate_hz else None)
    if as_json:
        console.show_json(examination)
    else:
        presentation.show_examination(examination)
    if not examination.fit:
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
        presentation.show_modes(rows)


cli_bench.add_to(app)
