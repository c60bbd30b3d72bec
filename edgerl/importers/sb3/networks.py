"""The actors of Stable-Baselines3 and sb3-contrib: which tensors act, in which order, and what follows them.

One entry per policy class. Critics, target networks and exploration noise have no part in the deterministic action and
are left out by name; a tensor that is neither taken nor left out means a network of somebody's own: it is refused.
Reference: the policies.py of each algorithm in stable_baselines3 2.9 and sb3_contrib 2.9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgerl.errors import DamagedCheckpoint, UnsupportedPolicy
from edgerl.importers.layers import Weights, activation_of, dense, lstm, sequential
from edgerl.importers.sb3.file import Sb3File
from edgerl.policy import Activation, Block, Dense
from edgerl.untrusted.foreign import Foreign, brief

_BATCH_NORM_EPS = 0.001
"""Default of CrossQ's ``batch_norm_eps``."""
_CLIP_MEAN = 2.0
"""Default of ``clip_mean`` in SAC, TQC and CrossQ, which bounds the mean where gSDE is used."""


@dataclass(frozen=True)
class Actor:
    """The part of a network between the features and the action."""

    extractor: str
    """Prefix of the features extractor's tensors."""
    blocks: tuple[Block, ...]
    squash: bool
    """Continuous actions are squashed by tanh and scaled to the box, not clipped."""


@dataclass(frozen=True)
class Settings:
    """What ``policy_kwargs`` say about the network, with the defaults of the policy class filled in."""

    activation: Activation
    activation_given: bool
    kwargs: Mapping[str, object]

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a setting that is true or false."""
        value = self.kwargs.get(name)
        return value if isinstance(value, bool) else default

    def number(self, name: str, default: float) -> float:
        """Return a setting that is a number."""
        value = self.kwargs.get(name)
        return float(value) if isinstance(value, (int, float)) and abs(value) < 1e6 else default


@dataclass(frozen=True)
class Family:
    """Policy classes that share one layout."""

    name: str
    build: Callable[[Weights, Settings], Actor]
    """Raises a CheckpointError where tensors are missing, of the wrong shape or in an unknown order."""
    without: tuple[str, ...]
    """Prefixes of tensors that have no part in the deterministic action."""
    activation: Activation
    """Default of the class."""


def policy_class(file: Sb3File) -> str:
    """Return the dotted name of the policy class.

    Raises:
        UnsupportedPolicy: The class itself is in the file, as code.
    """
    record = file.data.get("policy_class")
    if isinstance(record, Foreign) and record.args is None:
        return record.qualified
    raise UnsupportedPolicy(file.path, "the policy class was saved as code of your own", supported_classes())


def family_of(file: Sb3File) -> Family:
    """Return the layout of a checkpoint's policy class.

    Raises:
        UnsupportedPolicy: Not a class of Stable-Baselines3 or sb3-contrib that is known here.
    """
    name = policy_class(file)
    family = _FAMILIES.get(name)
    if family is None:
        raise UnsupportedPolicy(file.path, f"the policy class is {name}", supported_classes())
    return family


def supported_classes() -> str:
    """Return the algorithms whose policies are read, for messages."""
    return (
        "MlpPolicy, CnnPolicy and MultiInputPolicy of PPO, A2C, TRPO, SAC, TD3, DDPG, DQN, QR-DQN, TQC, CrossQ, ARS, "
        "MaskablePPO and RecurrentPPO"
    )


def settings_of(file: Sb3File, family: Family) -> Settings:
    """Return what the checkpoint says about its network.

    Raises:
        DamagedCheckpoint: ``policy_kwargs`` are no dictionary.
        UnsupportedPolicy: An activation or features extractor that is not known.
    """
    kwargs = file.data.get("policy_kwargs", {})
    if not isinstance(kwargs, dict):
        raise DamagedCheckpoint(file.path, "its policy_kwargs are no dictionary")
    extractor = kwargs.get("features_extractor_class")
    if extractor is not None and not _is_known_extractor(extractor):
        what = f"the features extractor is {brief(extractor)}"
        raise UnsupportedPolicy(file.path, what, "FlattenExtractor, NatureCNN and CombinedExtractor")
    given = kwargs.get("activation_fn")
    activation = activation_of(given, family.activation, str(file.path))
    return Settings(activation, given is not None, kwargs)


def check_left_over(file: Sb3File, family: Family, actor: Actor) -> None:
    """Refuse a network with tensors that nothing here accounts for.

    Raises:
        UnsupportedPolicy: There are some.
    """
    twins = ("features_extractor.", "vf_features_extractor.") if actor.extractor == "pi_features_extractor." else ()
    extra = file.weights.left_over((*family.without, *twins))
    if extra:
        shown = ", ".join(name[:80] for name in extra[:3]) + (" ..." if len(extra) > 3 else "")
        raise UnsupportedPolicy(
            file.path, f"the network has parts that {family.name} does not have ({shown})", supported_classes()
        )


def _is_known_extractor(record: object) -> bool:
    return (
        isinstance(record, Foreign)
        and record.args is None
        and record.module == "stable_baselines3.common.torch_layers"
        and record.name in ("FlattenExtractor", "NatureCNN", "CombinedExtractor")
    )


def _actor_critic(weights: Weights, settings: Settings) -> Actor:
    blocks: list[Block] = []
    if weights.has("lstm_actor."):
        blocks.append(lstm(weights, "lstm_actor", "lstm"))
    # Layers shared by actor and critic: Stable-Baselines3 before 1.8.
    blocks += sequential(weights, "mlp_extractor.shared_net", settings.activation, output=False)
    blocks += sequential(weights, "mlp_extractor.policy_net", settings.activation, output=False)
    blocks.append(dense(weights, "action_net"))
    own = weights.has("pi_features_extractor.")
    return Actor(
        extractor="pi_features_extractor." if own else "features_extractor.",
        blocks=tuple(blocks),
        squash=settings.flag("squash_output", default=False),
    )


def _soft_actor(weights: Weights, settings: Settings) -> Actor:
    eps = settings.number("batch_norm_eps", _BATCH_NORM_EPS)
    blocks = sequential(weights, "actor.latent_pi", settings.activation, output=False, norm_eps=eps)
    if "actor.mu.0.weight" in weights:
        bound = settings.number("clip_mean", _CLIP_MEAN)
        blocks += [dense(weights, "actor.mu.0"), Activation("hard_tanh", bound)]
    else:
        blocks.append(dense(weights, "actor.mu"))
    return Actor("actor.features_extractor.", tuple(blocks), squash=True)


def _td3_actor(weights: Weights, settings: Settings) -> Actor:
    blocks = sequential(weights, "actor.mu", settings.activation, output=True)
    return Actor("actor.features_extractor.", tuple(blocks), squash=True)


def _q_network(weights: Weights, settings: Settings) -> Actor:
    blocks = sequential(weights, "q_net.q_net", settings.activation, output=True)
    return Actor("q_net.features_extractor.", tuple(blocks), squash=False)


def _quantile_network(weights: Weights, settings: Settings) -> Actor:
    """The value of an action is the mean of its quantiles, which is linear: it goes into the last layer."""
    blocks = sequential(weights, "quantile_net.quantile_net", settings.activation, output=True)
    last = blocks.pop()
    quantiles = int(settings.number("n_quantiles", 200))
    if not isinstance(last, Dense) or last.bias is None or quantiles < 1 or last.weight.shape[0] % quantiles:
        raise DamagedCheckpoint(weights.where, f"its last layer does not answer {quantiles} quantiles for each action")
    weight = last.weight.reshape(quantiles, -1, last.weight.shape[1]).mean(axis=0, dtype=np.float64)
    bias = last.bias.reshape(quantiles, -1).mean(axis=0, dtype=np.float64)
    blocks.append(Dense(weight.astype(np.float32), bias.astype(np.float32)))
    return Actor("quantile_net.features_extractor.", tuple(blocks), squash=False)


def _random_search(weights: Weights, settings: Settings, *, squash: bool) -> Actor:
    blocks = sequential(weights, "action_net", settings.activation, output=True)
    return Actor("features_extractor.", tuple(blocks), settings.flag("squash_output", default=squash))


_CRITICS = ("critic.", "critic_target.", "actor.log_std", "actor_target.")
_ACTOR_CRITIC = Family(
    "an actor-critic policy",
    _actor_critic,
    ("value_net.", "mlp_extractor.value_net.", "vf_features_extractor.", "log_std", "sde_features_extractor.",
     "lstm_critic.", "critic."),
    Activation("tanh"),
)  # fmt: skip
_SOFT = Family("a soft actor-critic policy", _soft_actor, _CRITICS, Activation("relu"))
_TD3 = Family("a TD3 policy", _td3_actor, _CRITICS, Activation("relu"))
_DQN = Family("a DQN policy", _q_network, ("q_net_target.",), Activation("relu"))
_QRDQN = Family("a QR-DQN policy", _quantile_network, ("quantile_net_target.",), Activation("relu"))
_ARS = Family("an ARS policy", partial(_random_search, squash=True), (), Activation("relu"))
_ARS_LINEAR = Family("a linear ARS policy", partial(_random_search, squash=False), (), Activation("relu"))


def _classes(module: str, names: str, family: Family) -> dict[str, Family]:
    return {f"{module}.{name}": family for name in names.split()}


_FAMILIES: Mapping[str, Family] = {
    **_classes(
        "stable_baselines3.common.policies",
        "ActorCriticPolicy ActorCriticCnnPolicy MultiInputActorCriticPolicy",
        _ACTOR_CRITIC,
    ),
    **_classes(
        "sb3_contrib.common.recurrent.policies",
        "RecurrentActorCriticPolicy RecurrentActorCriticCnnPolicy RecurrentMultiInputActorCriticPolicy",
        _ACTOR_CRITIC,
    ),
    **_classes(
        "sb3_contrib.common.maskable.policies",
        "MaskableActorCriticPolicy MaskableActorCriticCnnPolicy MaskableMultiInputActorCriticPolicy",
        _ACTOR_CRITIC,
    ),
    **_classes("stable_baselines3.sac.policies", "SACPolicy CnnPolicy MultiInputPolicy", _SOFT),
    **_classes("sb3_contrib.tqc.policies", "TQCPolicy CnnPolicy MultiInputPolicy", _SOFT),
    **_classes("sb3_contrib.crossq.policies", "CrossQPolicy", _SOFT),
    **_classes("stable_baselines3.td3.policies", "TD3Policy CnnPolicy MultiInputPolicy", _TD3),
    **_classes("stable_baselines3.dqn.policies", "DQNPolicy CnnPolicy MultiInputPolicy", _DQN),
    **_classes("sb3_contrib.qrdqn.policies", "QRDQNPolicy CnnPolicy MultiInputPolicy", _QRDQN),
    **_classes("sb3_contrib.ars.policies", "ARSPolicy", _ARS),
    **_classes("sb3_contrib.ars.policies", "ARSLinearPolicy", _ARS_LINEAR),
}


def algorithm_of(file: Sb3File) -> str:
    """Return the algorithm, which the file does not name: from the policy class and the algorithm's own attributes."""
    module = policy_class(file).split(".")
    by_module = {
        "recurrent": "RecurrentPPO", "maskable": "MaskablePPO", "sac": "SAC", "tqc": "TQC", "crossq": "CrossQ",
        "dqn": "DQN", "qrdqn": "QR-DQN", "ars": "ARS",
    }  # fmt: skip
    for part in module:
        if part in by_module:
            return by_module[part]
    if "td3" in module:
        kwargs = file.data.get("policy_kwargs")
        one_critic = isinstance(kwargs, dict) and kwargs.get("n_critics") == 1
        return "DDPG" if one_critic and file.data.get("policy_delay") == 1 else "TD3"
    if "cg_max_steps" in file.data:
        return "TRPO"
    return "PPO" if "clip_range" in file.data else "A2C"
