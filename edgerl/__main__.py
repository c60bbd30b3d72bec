"""The way into the command line, and past it for an e-stop: that one waits for no import."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name."""
    words = sys.argv[1:]
    if words[:1] == ["estop"] and (len(words) == 1 or (len(words) == 3 and words[1] == "--name")):
        _estop(*words[2:])
    else:
        from edgerl.cli import main as command_line  # noqa: PLC0415

        command_line()


def _estop(name: str | None = None) -> None:
    from edgerl.errors import EdgerlError  # noqa: PLC0415
    from edgerl.runtime.control.estop import send_estop  # noqa: PLC0415

    try:
        stopped = send_estop(name)
    except EdgerlError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    print(f"e-stop: {', '.join(stopped)}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
