"""The commands that drive a robot and learn from how it went: ``run`` and ``budgets``.

As in :mod:`edgerl.cli`: parse, call one function, print.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Final

import typer

from edgerl import console, presentation
from edgerl.cli_options import Bundle, Json
from edgerl.errors import GateFailed

MAX_SEED: Final = 2**63 - 1

Robot = Annotated[
    str, typer.Option(help="gym:ENV_ID, pkg:module:Class, shm:NAME or udp:HOST:PORT.", show_default=False)
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of a gym: robot's first episode; 0 where not given.", min=0, max=MAX_SEED)
]
Episodes = Annotated[int | None, typer.Option(help="Episodes of a gym: robot; 1 where not given.", min=1)]
Realtime = Annotated[
    float | None,
    typer.Option("--realtime", help="Seconds in real time before a gym: robot goes on in lockstep.", min=0),
]
Frames = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=shm:PATH: the process that gives an image which the policy observes; may be repeated.",
        show_default=False,
    ),
]
Ticks = Annotated[int | None, typer.Option(help="Stop after so many ticks.", min=1)]
Key = Annotated[Path | None, typer.Option(help="File with the key that a udp: robot shares with this machine.")]
Production = Annotated[
    bool, typer.Option("--production", help="Refuse what is otherwise only warned of; for a robot that does its work.")
]
Arm = Annotated[
    bool | None,
    typer.Option(
        "--arm/--no-arm",
        help="Put the policy in charge when it is ready, or wait for edgerl arm; only gym: does so unasked.",
        show_default=False,
    ),
]
Stay = Annotated[
    bool | None,
    typer.Option(
        "--stay/--no-stay",
        help="After a fault wait for edgerl rearm, or end; only gym: ends unasked.",
        show_default=False,
    ),
]
Name = Annotated[str | None, typer.Option(help="Name for edgerl arm, status and so on; otherwise the bundle's.")]
Control = Annotated[str | None, typer.Option(help="Path of the control socket, in place of a name.")]
ControlGroup = Annotated[str | None, typer.Option(help="Group whose members may use the control socket, too.")]
Shadow = Annotated[
    Path | None, typer.Option(help="Bundle whose policy gets the same observations; its actions are only recorded.")
]
Spare = Annotated[
    bool, typer.Option("--spare", help="Keep a warm policy process in reserve, in place of one that dies.")
]
Watchdog = Annotated[
    str | None,
    typer.Option(help="Device of a hardware watchdog, such as /dev/watchdog: restarts a machine that hangs."),
]
Recording = Annotated[
    Path | None, typer.Option(help="New file for every tick (MCAP); otherwise one named after bundle and time.")
]
Record = Annotated[
    bool, typer.Option("--record/--no-record", help="Record every tick. The dumps of faults are written anyway.")
]
RecordLimit = Annotated[
    float | None, typer.Option(help="Stop recording, not the run, at so many GB.", min=0.001, show_default=False)
]
BeforeFault = Annotated[float, typer.Option(help="Seconds before a fault that its dump holds.", min=0, max=60)]
Report = Annotated[Path | None, typer.Option(help="HTML file to write a report into.")]
Learn = Annotated[
    Path | None,
    typer.Option("--learn-budgets", help="New TOML file to write budgets into that follow from how long things took."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (run, budgets):
        app.command()(command)


def run(
    bundle: Bundle,
    robot: Robot,
    seed: Seed = None,
    episodes: Episodes = None,
    realtime_s: Realtime = None,
    frames: Frames = None,
    ticks: Ticks = None,
    key: Key = None,
    production: Production = False,
    arm: Arm = None,
    stay: Stay = None,
    name: Name = None,
    control: Control = None,
    control_group: ControlGroup = None,
    shadow: Shadow = None,
    spare: Spare = False,
    watchdog: Watchdog = None,
    recording: Recording = None,
    record: Record = True,
    record_limit: RecordLimit = None,
    before_fault: BeforeFault = 5.0,
    report: Report = None,
    learn: Learn = None,
    as_json: Json = False,
) -> None:
    """Drive a robot with a bundle. Ctrl-C ends it in order, a second one is an e-stop."""
    for option, value in (("--seed", seed), ("--episodes", episodes), ("--realtime", realtime_s)):
        if value is not None and not robot.startswith("gym:"):
            raise typer.BadParameter("only a gym: robot has it; leave it away", param_hint=option)
    if name is not None and control is not None:
        raise typer.BadParameter("the path names the run already; leave one of the two away", param_hint="--name")
    from edgerl.run import run_file, run_name
    from edgerl.runtime.control.listener import ControlOptions
    from edgerl.runtime.frame_sources import parse_frame_sources
    from edgerl.runtime.recording.recorder import Keep
    from edgerl.runtime.run import RunOptions

    options = RunOptions(
        seed=seed or 0,
        episodes=episodes or 1,
        realtime_s=math.inf if realtime_s is None else realtime_s,
        frames=parse_frame_sources(frames or []),
        ticks=ticks,
        robot_key=key,
        production=production,
        arm=arm,
        stay=stay,
        spare=spare,
        notify=True,
        watchdog=watchdog,
        control=ControlOptions(name or run_name(bundle), exact=name is not None, path=control, group=control_group),
        keep=Keep(record, None if record_limit is None else round(record_limit * 1e9), before_fault),
    )
    with presentation.run_progress(quiet=as_json) as on_progress:
        result = run_file(
            bundle,
            robot,
            shadow=shadow,
            recording=recording,
            report=report,
            learn=learn,
            options=options,
            on_progress=on_progress,
        )
    if as_json:
        console.show_json(result)
    else:
        presentation.show_run(result)
        if result.budgets is not None:
            from edgerl.runtime.budgets_file import rows_of

            presentation.show_budgets(rows_of(result.budgets), result.budgets.ticks)
            console.note(f"wrote {learn}")
    if result.ended in ("fault", "estop") or result.no_budgets:
        raise typer.Exit(GateFailed.exit_code)


def budgets(
    recording: Annotated[Path, typer.Argument(help="Recording, as edgerl run writes it.", show_default=False)],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="New TOML file to write them into.")] = None,
    noisy: Annotated[
        list[str] | None,
        typer.Option(help="State channel whose sensor is never still; may be repeated.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Learn the envelope's budgets and time-outs from the recording of a run in which nothing went wrong."""
    from edgerl.runtime.budgets_file import learn_file, rows_of

    learned = learn_file(recording, output, noisy=noisy or ())
    if as_json:
        console.show_json(learned)
    else:
        presentation.show_budgets(rows_of(learned), learned.ticks)
        if output is not None:
            console.note(f"wrote {output}")
