"""The observation in the guardian's own terms: a program of elements and of terms with their place in the record.

Nothing is computed here: the guardian's assembler does that, in every tick of the policy. The state channels are those
of :func:`edgerl.runtime.state_channels.state_channels`, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgerl.errors import LoopError
from edgerl.frame_inputs import record_inputs, record_size
from edgerl.operator_values import MAX_VALUES, operator_values
from edgerl.runtime.enums import MAX_ELEMENTS, MAX_TERMS, Dtype
from edgerl.runtime.state_channels import attitude_of, state_channels, values_of, width
from edgerl.runtime.structs import Config, Element, StateChannel
from edgerl.runtime.structs import Term as CoreTerm
from edgerl.spec import ITEM_BYTES, Input, PolicySpec, Term


def apply_terms(config: Config, spec: PolicySpec) -> None:
    """Write what the spec's terms decide into a guardian's configuration.

    Args:
        config: As :func:`edgerl.runtime.core.new_config` made it; changed. Its state channels get no limits.
        spec: Whose terms :func:`~edgerl.runtime.layout.layout_of` has accepted.

    Raises:
        LoopError: A term that the guardian cannot assemble, or more than it has memory for.
    """
    elements: list[Element] = []
    terms: list[CoreTerm] = []
    for item in record_inputs(spec):
        for term, offset, stride in _places(item):
            elements.extend(_elements(spec, item, term))
            terms.append(_term(item, term, len(elements) - width(term), offset, stride))
    terms = _merged(terms)
    operators = len(operator_values(spec))
    for what, count, limit in (
        ("observation terms", len(terms), MAX_TERMS),
        ("values in the observation terms of one tick", len(elements), MAX_ELEMENTS),
        ("operator values", operators, MAX_VALUES),
    ):
        if count > limit:
            raise LoopError(f"The policy has {count} {what}; the guardian has memory for {limit}.")
    config.state_count = len(state_channels(spec))
    config.element_count, config.term_count, config.operator_count = len(elements), len(terms), operators
    observes_action = any(term.source == "last_action_raw" for item in spec.inputs for term in item.terms)
    config.raw_count = spec.action.size if observes_action else 0
    config.attitude, config.attitude_channel = attitude_of(spec)
    config.observation_bytes = record_size(spec)
    for index in range(config.state_count):
        config.states[index] = StateChannel(-math.inf, math.inf, -math.inf, math.inf, 0, 0)
    for index, element in enumerate(elements):
        config.elements[index] = element
    for index, place in enumerate(terms):
        config.terms[index] = place


def _places(item: Input) -> Iterator[tuple[Term, int, int]]:
    """Yield each term of an input, the byte of its oldest value and the bytes from one tick to the next.

    Successive terms of layout ``step_major`` and one length share their stack: all of a tick stand together.
    """
    size, at = ITEM_BYTES[item.dtype], item.offset
    terms = list(item.terms)
    while terms:
        group = _group(terms)
        stride = sum(width(term) for term in group) * size
        within = at
        for term in group:
            yield term, within, stride
            within += width(term) * size
        at += sum(term.size for term in group) * size
        del terms[: len(group)]


def _group(terms: list[Term]) -> list[Term]:
    first = terms[0].history
    if first is None or first.layout == "term_major":
        return terms[:1]
    count = 1
    for term in terms[1:]:
        history = term.history
        if history is None or history.layout != first.layout or history.length != first.length:
            break
        count += 1
    return terms[:count]


def _term(item: Input, term: Term, first: int, offset: int, stride: int) -> CoreTerm:
    history = term.history.length if term.history else 1
    if history > 1 and item.dtype != "float32":
        raise LoopError(
            f"Term '{term.name}' of {item.name} keeps a history of {item.dtype}; the guardian keeps histories of "
            "float32 only."
        )
    repeat = int(term.history is not None and term.history.reset == "repeat")
    return CoreTerm(first, width(term), Dtype[item.dtype.upper()], offset, history, stride, repeat, 0)


def _elements(spec: PolicySpec, item: Input, term: Term) -> Iterator[Element]:
    low, high = term.clip or (-math.inf, math.inf)
    count = width(term)
    offsets, scales = term.offset or (0.0,) * count, term.scale or (1.0,) * count
    for value, offset, scale in zip(values_of(spec, item, term), offsets, scales, strict=True):
        yield Element(value.source, value.index, offset, scale, low, high)


def _merged(terms: list[CoreTerm]) -> list[CoreTerm]:
    """Join neighbours without a history that stand next to each other in the record as one type."""
    joined: list[CoreTerm] = []
    for term in terms:
        last = joined[-1] if joined else None
        bytes_each = ITEM_BYTES["uint8"] if term.dtype == Dtype.UINT8 else ITEM_BYTES["float32"]
        if (
            last is not None
            and last.history == term.history == 1
            and last.dtype == term.dtype
            and last.offset + last.count * bytes_each == term.offset
        ):
            last.count += term.count
            last.stride += term.stride
        else:
            joined.append(term)
    return joined
