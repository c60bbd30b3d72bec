"""Importer for Stable-Baselines3 and sb3-contrib: a saved zip and its ``VecNormalize`` statistics to a Policy.

The action is the one of the trainer's ``predict(observation, deterministic=True)``, from the environment's raw
observation: statistics, then channels first for images, bytes by 255, one-hot vectors, the network, and for boxes
either tanh and scaling or clipping. Neither torch, Gymnasium nor the trainer is imported.

Reference: stable_baselines3/common/policies.py (BasePolicy.predict), common/preprocessing.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgerl.errors import DamagedCheckpoint, UnsupportedPolicy
from edgerl.importers.description import CheckpointDescription, describe_blocks
from edgerl.importers.options import ImportOptions
from edgerl.importers.sb3 import networks
from edgerl.importers.sb3.checkpoint import Checkpoint, open_checkpoint
from edgerl.importers.sb3.file import Sb3File, looks_like_sb3
from edgerl.importers.sb3.inputs import Encoder, features_after, read_encoders
from edgerl.importers.spaces import Box, Dict, Discrete, MultiDiscrete, describe_space
from edgerl.policy import ActionMap, Block, Concat, Network, Policy, Recurrent, Transpose
from edgerl.spec import SCHEMA, Action, PolicySpec, Provenance, Robot, Source, StateTensor, packed
from edgerl.untrusted.foreign import Foreign, brief

NAME = "sb3"
"""Name of this importer on the command line."""
TITLE = "Stable-Baselines3 and sb3-contrib (.zip)"
_CONFIGURATION = ("num_timesteps", "n_envs", "gamma", "use_sde")


def detect(path: Path) -> float:
    """Return how sure it is, from 0 to 1, that ``path`` is a checkpoint of Stable-Baselines3 or sb3-contrib."""
    return looks_like_sb3(path)


def read(path: Path, options: ImportOptions) -> Policy:
    """Return the policy of a checkpoint.

    Raises:
        CheckpointError: It cannot be read, or it is of a kind that is not read without the trainer's own code.
    """
    return _policy(open_checkpoint(path, options))


def _policy(checkpoint: Checkpoint) -> Policy:
    file = checkpoint.file
    family = networks.family_of(file)
    settings = networks.settings_of(file, family)
    actor = family.build(file.weights, settings)
    encoders = read_encoders(
        checkpoint, actor.extractor, normalize_images=settings.flag("normalize_images", default=True)
    )
    networks.check_left_over(file, family, actor)
    head = _head(checkpoint, squash=actor.squash)
    names = tuple(item.input.name for item in encoders)
    trunk = (Concat(names), *actor.blocks) if len(names) > 1 else actor.blocks
    _check_shapes(file, encoders, trunk, head)
    spec = PolicySpec(
        schema=SCHEMA,
        inputs=packed(item.input for item in encoders),
        action=_action(head),
        robot=Robot((), None, None, None, "none", None, 1),
        period_ns=None,
        state=tuple(_state(trunk)),
        provenance=_provenance(checkpoint, settings),
        sources=_sources(checkpoint, encoders),
    )
    return Policy(spec, Network({item.input.name: item.blocks for item in encoders}, trunk, head))


def _head(checkpoint: Checkpoint, *, squash: bool) -> ActionMap:
    space = checkpoint.action
    if isinstance(space, Box):
        low, high = tuple(map(float, space.low.ravel())), tuple(map(float, space.high.ravel()))
        if not squash:
            return ActionMap("continuous", low, high, clip=True)
        if not np.isfinite([low, high]).all():
            raise UnsupportedPolicy(checkpoint.file.path, "a squashed action has no finite bounds", "a bounded Box")
        return ActionMap("continuous", low, high, squash="tanh", unscale=True)
    if isinstance(space, Discrete):
        return ActionMap("discrete", (0.0,), (space.n - 1.0,), choices=(space.n,))
    if isinstance(space, MultiDiscrete):
        high = tuple(count - 1.0 for count in space.choices)
        return ActionMap("multi_discrete", (0.0,) * len(high), high, choices=space.choices)
    size = int(np.prod(space.shape))
    return ActionMap("multi_binary", (0.0,) * size, (1.0,) * size)


def _check_shapes(file: Sb3File, encoders: list[Encoder], trunk: tuple[Block, ...], head: ActionMap) -> None:
    width = sum(int(np.prod(item.features)) for item in encoders)
    found = features_after(file, "the network", trunk, (width,))
    needed = sum(head.choices) if head.choices else len(head.low)
    if found != (needed,):
        raise DamagedCheckpoint(file.path, f"the network answers {found} values, its action space needs {needed}")


def _action(head: ActionMap) -> Action:
    return Action(
        kind=head.kind,
        names=None,
        unit=None,
        meaning="opaque",
        low=head.low,
        high=head.high,
        clipped_in_graph=True,
        raw=False,
        offset=None,
        scale=None,
    )


def _state(trunk: tuple[Block, ...]) -> list[StateTensor]:
    tensors = []
    for block in trunk:
        if isinstance(block, Recurrent):
            shape = (len(block.layers), 1, block.hidden)
            zeros = (0.0,) * (shape[0] * shape[2])
            tensors += [StateTensor(f"state.{block.name}.{part}", shape, zeros) for part in "hc"]
    return tensors


def _provenance(checkpoint: Checkpoint, settings: networks.Settings) -> Provenance:
    file, statistics = checkpoint.file, checkpoint.statistics
    policy_class = networks.policy_class(file)
    algorithm = networks.algorithm_of(file)
    contrib = policy_class.startswith("sb3_contrib.") or algorithm == "TRPO"
    said = {name: file.data.get(name) for name in _CONFIGURATION}
    configuration = {name: brief(value) for name, value in said.items() if isinstance(value, (int, float))}
    configuration["policy_class"] = policy_class
    given = "" if settings.activation_given else " (default of the policy class)"
    configuration["activation"] = settings.activation.kind + given
    configuration["statistics"] = statistics.path.name if statistics else "none"
    digests = {file.path.name: file.sha256}
    if statistics:
        digests[statistics.path.name] = statistics.sha256
    foreign = file.foreign_globals | (statistics.foreign_globals if statistics else frozenset())
    seed = file.data.get("seed")
    return Provenance(
        trainer="sb3-contrib" if contrib else "stable-baselines3",
        trainer_version=file.version,
        algorithm=algorithm,
        digests=digests,
        configuration=configuration,
        seed=seed if type(seed) is int and seed.bit_length() < 64 else None,
        foreign_globals=tuple(sorted(foreign)),
    )


def _sources(checkpoint: Checkpoint, encoders: list[Encoder]) -> dict[str, Source]:
    """Say where each value came from: what the checkpoint does not hold is a default, or the user's word."""
    named = checkpoint.options.stats is not None
    sources: dict[str, Source] = {
        "inputs": "checkpoint",
        "inputs.normalizer": "user" if named else "checkpoint" if checkpoint.statistics else "default",
        "action": "checkpoint",
        "action.meaning": "default",
        "robot": "default",
        "state": "checkpoint",
        "provenance": "checkpoint",
    }
    for item in encoders:
        if any(isinstance(block, Transpose) for block in item.blocks) or checkpoint.options.image_layout:
            sources[f"inputs.{item.input.name}.shape"] = "user" if checkpoint.options.image_layout else "default"
    return sources


def describe(path: Path, options: ImportOptions) -> CheckpointDescription:
    """Return what a checkpoint holds; one that cannot be exported is described as far as it goes.

    Raises:
        CheckpointError: It cannot be read at all, or its statistics are ambiguous or of another policy.
    """
    checkpoint = open_checkpoint(path, options)
    file, statistics = checkpoint.file, checkpoint.statistics
    policy, refused = None, None
    try:
        policy = _policy(checkpoint)
    except UnsupportedPolicy as error:
        refused = str(error)
    digests = {item.path.name: item.sha256 for item in (file, statistics) if item is not None}
    foreign = file.foreign_globals | (statistics.foreign_globals if statistics else frozenset())
    spaces = {"observation": checkpoint.observation, "action": checkpoint.action}
    record = file.data.get("policy_class")
    return CheckpointDescription(
        path=str(file.path),
        trainer=policy.spec.provenance.trainer if policy else "stable-baselines3",
        trainer_version=file.version,
        algorithm=policy.spec.provenance.algorithm if policy else None,
        policy_class=record.qualified if isinstance(record, Foreign) else None,
        spaces={name: describe_space(space) for name, space in spaces.items()},
        normalizer=_describe_normalizer(checkpoint),
        blocks=describe_blocks(policy) if policy else (),
        digests=digests,
        foreign_globals=tuple(sorted(foreign)),
        unknowns=policy.spec.unknowns() if policy else (),
        notes=tuple(_notes(checkpoint)),
        refused=refused,
    )


def _describe_normalizer(checkpoint: Checkpoint) -> str:
    statistics = checkpoint.statistics
    if statistics is None:
        return "none"
    if not statistics.normalizers:
        return f"{statistics.path.name}, which leaves observations as they are (norm_obs is off)"
    keys = ", ".join(key or "the observation" for key in statistics.normalizers)
    return f"{statistics.path.name} for {keys}"


def _notes(checkpoint: Checkpoint) -> Iterator[str]:
    options, file = checkpoint.options, checkpoint.file
    if checkpoint.statistics is None and options.stats is None:
        yield (
            "No normalizer statistics lie beside this checkpoint, and Stable-Baselines3 does not write into it whether "
            "there were any. If the policy was trained with VecNormalize, name its file with --stats."
        )
    elif checkpoint.statistics is not None and options.stats is None:
        yield f"{checkpoint.statistics.path.name} was found beside the checkpoint; --stats none leaves it out."
    space = checkpoint.observation
    boxes = space.spaces.values() if isinstance(space, Dict) else (space,)
    if any(isinstance(box, Box) and box.is_image for box in boxes) and options.image_layout is None:
        yield (
            "The policy takes images channels first; the environment is assumed to give height, width, channels, "
            "as Stable-Baselines3 reorders them. If it gives channels first itself, say --image-layout chw."
        )
    if isinstance(checkpoint.action, Discrete) and checkpoint.action.start:
        start = checkpoint.action.start
        yield f"The action space starts at {start}; the trainer's predict answers from 0, and so does the export."
    if "maskable" in str(getattr(file.data.get("policy_class"), "module", "")):
        yield "MaskablePPO was trained with action masks; the export knows none and may choose a masked action."
    if file.version is None:
        yield "The file does not say which version of Stable-Baselines3 wrote it."
