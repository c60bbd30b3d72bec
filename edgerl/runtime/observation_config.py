"""The observation in the guardian's own terms: which value of the state stands where in the packed record.

Nothing is computed here: the guardian's assembler does that, in every tick. The state channels are those of
:func:`edgerl.runtime.layout.layout_of`, in the same order.
"""

from __future__ import annotations

import math

from edgerl.frame_inputs import record_inputs, record_size
from edgerl.runtime.enums import Dtype
from edgerl.runtime.structs import Config, Element, StateChannel, Term
from edgerl.spec import PolicySpec


def apply_terms(config: Config, spec: PolicySpec) -> None:
    """Write what the spec's terms decide into a guardian's configuration; all of them are opaque.

    Args:
        config: As :func:`edgerl.runtime.core.new_config` made it; changed.
        spec: Whose terms :func:`~edgerl.runtime.layout.layout_of` has accepted.
    """
    inf, index, inputs = math.inf, 0, record_inputs(spec)
    for number, item in enumerate(inputs):
        config.terms[number] = Term(index, item.size, Dtype[item.dtype.upper()], item.offset, 1, item.nbytes, 0, 0)
        for _ in range(item.size):
            config.states[index] = StateChannel(-inf, inf, -inf, inf, 0, 0)
            config.elements[index] = Element(0, index, 0.0, 1.0, -inf, inf)
            index += 1
    config.term_count = len(inputs)
    config.state_count = config.element_count = index
    config.observation_bytes = record_size(spec)
