"""How deep the containers of an untrusted value lie in each other, found without recursing into them.

A pickle can put a container into another one first and fill it later, and it can make cycles, so the depth is known
only when everything has been read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from edgerl.untrusted.foreign import Foreign
from edgerl.untrusted.limits import Budget

_CONTAINERS = (list, tuple, dict, set, frozenset, Foreign)


def check_nesting(value: object, budget: Budget) -> None:
    """Refuse a value that whoever walks through it could not leave again; a cycle counts once around.

    Raises:
        CheckpointTooLarge: Containers inside containers, more of them than the limit.
    """
    if not isinstance(value, _CONTAINERS):
        return
    depths = {id(value): 0}  # of finished containers; 0: still open
    path: list[tuple[int, Iterator[object]]] = [(id(value), _children(value))]
    while path:
        key, children = path[-1]
        for child in children:
            if not isinstance(child, _CONTAINERS):
                continue
            known = depths.get(id(child))
            if known is None:
                depths[id(child)] = 0
                path.append((id(child), _children(child)))
                budget.check_depth(len(path))
                break
            budget.check_depth(len(path) + known)
            depths[key] = max(depths[key], known)
        else:
            path.pop()
            depths[key] += 1
            if path:
                above = path[-1][0]
                depths[above] = max(depths[above], depths[key])


def _children(container: object) -> Iterator[object]:
    parts: Iterable[object]
    if isinstance(container, Foreign):
        parts = (container.args, container.kwargs, container.state, container.items, container.entries)
    elif isinstance(container, dict):
        parts = chain(container.keys(), container.values())
    else:
        parts = container  # type: ignore[assignment]
    return iter(parts)
