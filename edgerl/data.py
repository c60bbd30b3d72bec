"""Where the data that belongs to edgerl lies: in the checkout it runs from, else inside the installed package."""

from __future__ import annotations

from pathlib import Path


def data_folder(name: str) -> Path:
    """Return the folder ``name`` of the repository's root, such as ``targets``, or the copy that the wheel brought.

    A folder of that name beside an installed package would be a stranger's; a checkout has its ``pyproject.toml``.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    return package / "_data" / name
