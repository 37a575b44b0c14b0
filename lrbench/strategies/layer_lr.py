"""The layer-lr policies: from descriptions of a model's parameters to an lr multiplier for each, and to groups.

An entry is a function of settings that returns a policy; a policy maps every parameter to a ``Rate``. It never sees a
tensor. Parameters with the same rate are a parameter group.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import inf
from typing import Annotated, Any, Literal

from pydantic import Field

from lrbench.config.catalog import PYTORCH, Catalog, Entry
from lrbench.config.param import Param
from lrbench.config.types import Added, Count, NonNegative, Positive, Span


@dataclass(frozen=True)
class Rate:
    """How one parameter learns.

    ``multiplier`` scales the base lr; 0 freezes the parameter: the optimizer does not get it at all. ``joins`` says
    when ``add_param_group`` adds it: a step, or a share of the budget; 0 is the start. ``weight_decay`` overrides the
    optimizer's.
    """

    multiplier: float = 1.0
    joins: int | float = 0
    weight_decay: float | None = None


FROZEN = Rate(0.0)
Policy = Callable[[Sequence[Param]], Mapping[str, Rate]]
Patterns = Annotated[dict[str, NonNegative], Field(min_length=1)]
Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class NoMatch(ValueError):  # noqa: N818 - a described fact about a pattern and a model
    """A pattern matches no parameter that a model trains."""


@dataclass(frozen=True)
class PolicyEntry(Entry[Callable[..., Policy]]):
    """A layer-lr policy, as a function of its settings."""

    is_uniform: bool = False
    """Whether it gives one lr to all parameters, whatever its settings."""

    def stored(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Whether it is uniform besides."""
        return super().stored(settings) | {"is_uniform": self.is_uniform}


LAYER_LRS = Catalog("layer-lr policy", PolicyEntry)
layer_lr = LAYER_LRS.register


@layer_lr("uniform", is_uniform=True, cites=[PYTORCH])
def uniform() -> Policy:
    """One lr for all parameters.

    Source: the default of torch.optim.
    """
    return lambda params: {p.name: Rate() for p in params}


@layer_lr("groups", cites=[PYTORCH])
def groups(*, multipliers: Patterns, rest: NonNegative = 1.0) -> Policy:
    """Multiply the lr of parameters whose name matches a pattern, as in {"layer1*" = 0.1, "layer2*" = 0.2}; 0 freezes.

    The first matching pattern counts; ``rest`` is the multiplier of all others.

    Source: per-parameter options of torch.optim.
    """

    def policy(params: Sequence[Param]) -> dict[str, Rate]:
        matched = _matched(params, tuple(multipliers))
        return {p.name: Rate(multipliers.get(matched[p.name] or "", rest)) for p in params}

    return policy


@layer_lr("freeze", cites=["yosinski2014transferable"])
def freeze(*, layers: Names) -> Policy:
    """Leave out the parameters that match a pattern; they do not move by a bit. All others share one lr.

    Source: Yosinski et al. 2014, arXiv:1411.1792.
    """

    def policy(params: Sequence[Param]) -> dict[str, Rate]:
        matched = _matched(params, layers)
        return {p.name: FROZEN if matched[p.name] else Rate() for p in params}

    return policy


@layer_lr("head-only", cites=["alain2016understanding"])
def head_only() -> Policy:
    """Train the last layer, freeze the rest.

    Source: linear probing, Alain & Bengio 2016, arXiv:1610.01644.
    """
    return lambda params: {p.name: Rate() if p.is_head else FROZEN for p in params}


@layer_lr("depth-decay", cites=["clark2020electra", "bao2022beit"])
def depth_decay(*, gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 0.75) -> Policy:
    """Scale each layer's lr by gamma for every layer above it; the head keeps 1.

    Source: Clark et al. 2020, arXiv:2003.10555; Bao et al. 2022, arXiv:2106.08254.
    """
    return lambda params: {p.name: Rate(gamma ** (_head(params) - p.layer)) for p in params}


@layer_lr("discriminative", cites=["howard2018universal", "howard2020fastai"])
def discriminative(*, ratio: Annotated[float, Field(ge=1.0)] = 100.0) -> Policy:
    """Spread the lrs geometrically over the layers, from lr / ratio at the input to lr at the head.

    Source: Howard & Ruder 2018, arXiv:1801.06146; the geometric spread is fastai's slice(lr / 100, lr).
    """
    return lambda params: {
        p.name: Rate(ratio ** (p.layer / max(_head(params), 1) - 1.0 if _head(params) else 0.0)) for p in params
    }


@layer_lr("gradual-unfreezing", cites=["howard2018universal"])
def gradual_unfreezing(*, every: Span = 0.2) -> Policy:
    """Start with the head; every so many steps, add the next layer below with add_param_group; its state starts then.

    Source: Howard & Ruder 2018, arXiv:1801.06146, section 3.3.
    """
    return lambda params: {p.name: Rate(joins=every * (_head(params) - p.layer)) for p in params}


@layer_lr("bias-norm", cites=["goyal2017accurate", "jia2014caffe"])
def bias_norm(*, multiplier: Positive = 2.0, weight_decay: NonNegative = 0.0) -> Policy:
    """Give biases and normalisation parameters an lr and a weight decay of their own, by default no decay.

    Source: Goyal et al. 2017, arXiv:1706.02677, section 5.1; the doubled bias lr is Caffe's custom.
    """
    own = Rate(multiplier, weight_decay=weight_decay)
    return lambda params: {p.name: own if p.is_bias or p.is_norm else Rate() for p in params}


@layer_lr("width-scaled", cites=["yang2022tensor"])
def width_scaled(
    *,
    base_width: Count = 64,
    rule: Literal["adam", "sgd"] = "adam",
    width: Annotated[Literal["model", "layer"], Added("layer")] = "model",
) -> Policy:
    """Scale lrs with width as muP does, relative to a model of ``base_width``: one best lr fits all widths.

    The width of a model is how many outputs its first weight has; at ``base_width`` every multiplier is 1. With
    ``adam``, all weights but the first get base_width / width. With ``sgd``, the first weight, biases and norms get
    width / base_width, and head weights base_width / width. Embeddings and depthwise kernels sum no units, so they are
    treated as the first weight is. With ``width = "layer"`` each weight has a width of its own, its inputs or outputs:
    a wider layer of a model at its base width is then scaled too. Initialisation stays the model's own: muP-like, not
    muP.

    Source: Yang et al. 2022, arXiv:2203.03466, table 3.
    """

    def multipliers(params: Sequence[Param]) -> dict[str, Rate]:
        weights = sorted((p for p in params if not (p.is_vector or p.is_head)), key=lambda p: p.layer)
        times = (weights[0].width_out if weights else base_width) / base_width
        return {
            p.name: Rate(_by_layer_width(p, base_width, rule) if width == "layer" else _by_model_width(p, times, rule))
            for p in params
        }

    return multipliers


def _by_model_width(p: Param, times: float, rule: str) -> float:
    """The multiplier of a parameter in a model that is ``times`` as wide as the base."""
    if p.is_head and not p.is_vector:
        return 1.0 / times
    if _sums_units(p) and not p.is_input:
        return 1.0 / times if rule == "adam" else 1.0
    is_output_bias = p.is_head and p.is_bias and not p.is_norm
    return 1.0 if rule == "adam" or is_output_bias or not p.shape else times


def _by_layer_width(p: Param, base_width: int, rule: str) -> float:
    """The multiplier of a parameter by the width of its own layer."""
    if (_sums_units(p) or (p.is_head and not p.is_vector)) and p.layer > 0:
        return base_width / p.width_in if rule == "adam" or p.is_head else 1.0
    return 1.0 if rule == "adam" or p.is_head or not p.shape else p.shape[0] / base_width


def _sums_units(p: Param) -> bool:
    is_depthwise = p.width_in == 1 and len(p.shape) > 2
    return not (p.is_vector or p.is_embedding or is_depthwise)


def _head(params: Sequence[Param]) -> int:
    return max(p.layer for p in params)


def _matched(params: Sequence[Param], patterns: Sequence[str]) -> dict[str, str | None]:
    """The first pattern that each parameter matches, by its own name or its layer's.

    A tied parameter matches by any of its names, or of their modules.

    Raises: NoMatch when a pattern matches nothing.
    """
    for pattern in patterns:
        matched = [p for p in params if _matches(p, pattern)]
        if not matched:
            names = ", ".join(dict.fromkeys(p.layer_name for p in params))
            raise NoMatch(f"pattern {pattern!r} matches no parameter. The layers are {names}.")
        if all(p.is_frozen for p in matched):
            raise NoMatch(
                f"pattern {pattern!r} matches no parameter that trains: the model itself froze {matched[0].name!r}."
            )
    return {p.name: next((pattern for pattern in patterns if _matches(p, pattern)), None) for p in params}


def _matches(p: Param, pattern: str) -> bool:
    names = [p.name, *p.tied]
    modules = [name.rpartition(".")[0] for name in names] if p.tied else []
    return any(fnmatchcase(name, pattern) for name in (*names, p.layer_name, *modules))


@dataclass(frozen=True)
class Group:
    """Parameters that share a rate. ``joins`` is the number of steps done when the optimizer gets the group."""

    name: str
    params: tuple[str, ...]
    multiplier: float
    joins: int
    weight_decay: float | None
    use_muon: bool | None = None
    """Whether an optimizer that treats matrices differently steps them as such; None for other optimizers."""

    def options(self, tensors: Mapping[str, Any], base_lr: float) -> dict[str, Any]:
        """The group as ``torch.optim`` and ``add_param_group`` take it."""
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        kind = {} if self.use_muon is None else {"use_muon": self.use_muon}
        return {"params": [tensors[name] for name in self.params], "lr": base_lr * self.multiplier} | decay | kind


def param_groups(
    policy: Policy, params: Sequence[Param], steps: int, *, is_matrix: Callable[[Param], bool] | None = None
) -> list[Group]:
    """The groups that a policy makes of a model's parameters, by the step at which they join, then in model order.

    Parameters that ``is_matrix`` accepts are in other groups than the rest. Parameters that the model itself froze are
    in none.

    Raises: ValueError when the policy leaves a parameter out, names an unknown one, gives a negative multiplier, or
    trains nothing at the start; and when the model has nothing to train.
    """
    if all(p.is_frozen for p in params):
        raise ValueError("finds nothing to train: the model has no parameter that it does not freeze itself.")
    rates = policy(params)
    names = [p.name for p in params]
    if missing := [n for n in names if n not in rates]:
        raise ValueError(f"must cover each parameter once: missing {missing}. Use multiplier 0.0 to freeze.")
    if unknown := sorted(set(rates) - set(names)):
        raise ValueError(f"names parameters that the model does not have: {unknown}.")
    if odd := [n for n in names if not (0.0 <= rates[n].multiplier < inf and rates[n].joins >= 0)]:
        raise ValueError(f"gives {odd} a multiplier or a time to join that is negative or no number.")
    together: dict[tuple[Rate, bool | None], list[Param]] = {}
    for p in params:
        if rates[p.name].multiplier > 0.0 and not p.is_frozen:
            together.setdefault((rates[p.name], is_matrix and is_matrix(p)), []).append(p)
    made = _numbered(
        [replace(_group(rate, members, steps), use_muon=kind) for (rate, kind), members in together.items()]
    )
    if not any(g.joins == 0 for g in made):
        raise ValueError(
            "trains no parameter at the start: at least one must join at step 0 with a multiplier above 0."
        )
    return sorted((g for g in made if g.joins < steps), key=lambda g: g.joins)


def _numbered(groups: list[Group]) -> list[Group]:
    """The groups, with a number after a name that an earlier group has."""
    seen: Counter[str] = Counter()
    for i, group in enumerate(groups):
        seen[group.name] += 1
        if seen[group.name] > 1:
            groups[i] = replace(group, name=f"{group.name} ({seen[group.name]})")
    return groups


def _group(rate: Rate, members: Sequence[Param], steps: int) -> Group:
    joins = rate.joins if isinstance(rate.joins, int) else round(rate.joins * steps)
    layers = list(dict.fromkeys(p.layer_name for p in members))
    leaves = {p.name.rpartition(".")[2] for p in members}
    name = layers[0] if len(layers) == 1 else f"{layers[0]}..{layers[-1]}"
    name += f".{leaves.pop()}" if len(leaves) == 1 else ""
    return Group(name, tuple(p.name for p in members), rate.multiplier, joins, rate.weight_decay)
