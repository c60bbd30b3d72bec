"""The commands that ask a run that is going on: ``arm``, ``disarm``, ``rearm``, ``estop``, ``status`` and their kin.

As in :mod:`edgerl.cli`: parse, call one function, print.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgerl import console, presentation
from edgerl.cli_options import Bundle, Json

if TYPE_CHECKING:
    from edgerl.runtime.control.client import Control
    from edgerl.runtime.control.messages import RunStatus

Name = Annotated[str | None, typer.Option(help="Name of the run; needed where several are alive.")]
Socket = Annotated[
    str | None, typer.Option("--control", help="Path of the run's control socket, where it was started with one.")
]
As = Annotated[str | None, typer.Option("--as", help="Who asks, as the owner of the robot; otherwise the user's name.")]
WATCH_EVERY_S = 0.1


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (arm, disarm, rearm, estop, stop, status, own, release, teleop):
        app.command()(command)
    policy = typer.Typer(help="Change the policy of a run that is going on, without missing a tick.")
    for change in (load, switch, drop):
        policy.command()(change)
    app.add_typer(policy, name="policy", no_args_is_help=True)


def load(
    bundle: Bundle,
    name: Name = None,
    control: Socket = None,
    owner: As = None,
    as_json: Json = False,
) -> None:
    """Let the policy of another bundle get the same observations; what it says is recorded and not sent."""
    _ask(lambda run: run.load_policy(bundle), name, control, owner, as_json=as_json)


def switch(name: Name = None, control: Socket = None, owner: As = None, as_json: Json = False) -> None:
    """Let the candidate take over; the policy that acted before is the candidate then."""
    _ask(lambda run: run.switch_policy(), name, control, owner, as_json=as_json)


def drop(name: Name = None, control: Socket = None, owner: As = None, as_json: Json = False) -> None:
    """End the candidate."""
    _ask(lambda run: run.drop_policy(), name, control, owner, as_json=as_json)


def arm(name: Name = None, control: Socket = None, owner: As = None, as_json: Json = False) -> None:
    """Put the policy of a run in charge of its robot."""
    _ask(lambda run: run.arm(), name, control, owner, as_json=as_json)


def disarm(name: Name = None, control: Socket = None, owner: As = None, as_json: Json = False) -> None:
    """Take the policy out of charge; the robot gets the safe command and the run waits."""
    _ask(lambda run: run.disarm(), name, control, owner, as_json=as_json)


def rearm(name: Name = None, control: Socket = None, owner: As = None, as_json: Json = False) -> None:
    """Reset the fault that a run was stopped by, and put its policy in charge again."""
    _ask(lambda run: run.rearm(), name, control, owner, as_json=as_json)


def stop(name: Name = None, control: Socket = None, owner: As = None, as_json: Json = False) -> None:
    """End a run in order, as Ctrl-C does."""
    _ask(lambda run: run.stop(), name, control, owner, as_json=as_json)


def own(
    name: Name = None,
    control: Socket = None,
    owner: As = None,
    take: Annotated[
        bool, typer.Option("--take", help="Also where another owns it: as root, or the user who started the run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Own the robot: nobody else can arm, disarm or end it then. An e-stop needs no owner."""
    _ask(lambda run: run.own(take=take), name, control, owner, as_json=as_json)


def release(name: Name = None, control: Socket = None, owner: As = None, as_json: Json = False) -> None:
    """Own the robot no longer."""
    _ask(lambda run: run.release(), name, control, owner, as_json=as_json)


def teleop(
    name: Name = None,
    control: Socket = None,
    owner: As = None,
    script: Annotated[
        Path | None, typer.Option(help="File of lines in place of the keyboard; - for stdin. See docs/control.md.")
    ] = None,
) -> None:
    """Operate a run from the keyboard: velocities and the like, the dead-man switch, e-stop."""
    from edgerl import teleop as operating

    with _connect(name, control, owner) as run:
        if script is not None:
            operating.play(run, _lines(script))
            return
        with presentation.one_line() as show:
            console.note(operating.HELP)
            operating.drive(run, show)


def _lines(script: Path) -> list[str]:
    from edgerl.errors import UnreadableFile

    if str(script) == "-":
        return sys.stdin.read().splitlines()
    try:
        return script.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise UnreadableFile(script, getattr(error, "strerror", None) or str(error)) from error


def estop(
    name: Name = None,
    control: Socket = None,
    every: Annotated[bool, typer.Option("--all", help="Of all runs that this user can reach.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the robot of a run now, whoever owns it."""
    from edgerl.runtime.control.estop import send_estop

    stopped = send_estop(name, control=control, every=every)
    if as_json:
        console.show_json({"stopped": list(stopped)})
    else:
        console.note(f"e-stop: {', '.join(stopped)}")


def status(
    name: Name = None,
    control: Socket = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing it until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show how a run stands."""
    if watch and as_json:
        raise typer.BadParameter("one document cannot go on; leave one of the two away", param_hint="--watch")
    if not watch:
        _ask(lambda run: run.status(), name, control, None, as_json=as_json)
        return
    with _connect(name, control, None) as run, presentation.watching() as show:
        while True:
            show(run.status())
            time.sleep(WATCH_EVERY_S)


def _connect(name: str | None, control: str | None, owner: str | None) -> Control:
    from edgerl.runtime.control.client import connect

    return connect(name, control=control, owner=owner)


def _ask(
    what: Callable[[Control], RunStatus], name: str | None, control: str | None, owner: str | None, *, as_json: bool
) -> None:
    with _connect(name, control, owner) as run:
        standing = what(run)
    if as_json:
        console.show_json(standing)
    else:
        presentation.show_standing(standing)
