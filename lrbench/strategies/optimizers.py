"""The optimizers: each entry builds the real ``torch.optim`` object from parameter groups and a base lr.

A matrix may set the keyword-only parameters. Their defaults are PyTorch's, and so is ``default_lr``: a multiple of the
default lr is a multiple of what PyTorch's users get.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field
from torch.optim import Optimizer

from lrbench.config.catalog import PYTORCH, Catalog, Entry
from lrbench.config.faults import fault, one_line
from lrbench.config.run import Choice
from lrbench.config.types import Added, Betas, Count, Fraction, NonNegative, Positive
from lrbench.strategies.composite import Adopted, Groups, Paired, innermost
from lrbench.strategies.layerwise import LAMB, LARS, Lion

Build = Callable[..., Optimizer]

FLAGS = {
    "closure": "steps on a closure, which zeroes the gradients, computes them again and returns the loss; gradients "
    "are there before",
    "closure_first": "a `closure` optimizer that begins by calling the closure itself, so that no gradients need be "
    "there before",
    "one_group": "accepts a single parameter group",
    "one_lr": "accepts groups of one lr only",
    "sparse": "takes sparse gradients only",
    "only_2d": "steps matrices otherwise than the rest: the key `use_muon` of a group says whether it holds matrices",
    "no_schedule": "sets its own lr over time: no scheduler touches its groups, and the lr recorded of a step is the "
    "one it leaves there",
    "not_proportional": "its update is not proportional to the lr of the step",
    "train_eval": "swaps weights between training and evaluation by `train()` and `eval()`; one that has both methods "
    "needs no flag",
    "momentum": "has a momentum that a schedule can cycle",
}


@dataclass(frozen=True, kw_only=True)
class OptimizerEntry(Entry[Build]):
    """An optimizer, as a function of parameter groups and a base lr."""

    default_lr: float
    """PyTorch's default, or its author's."""
    needs: str | None = None
    """The package to install for it; None: lrbench installs it."""
    rounds_in: str | None = None
    """The precision in which it computes, where that is lower than that of the weights."""

    def listed(self) -> dict[str, Any]:
        """The default lr, and the other facts where they are given."""
        others = {"needs": self.needs, "rounds_in": self.rounds_in}
        return {"default_lr": self.default_lr} | {name: value for name, value in others.items() if value is not None}

    def stored(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The default lr too."""
        return super().stored(settings) | {"default_lr": self.default_lr}


OPTIMIZERS = Catalog("optimizer", OptimizerEntry, flags=FLAGS)


def optimizer(
    name: str,
    *,
    default_lr: float,
    flags: Iterable[str] = (),
    revision: int = 1,
    needs: str | None = None,
    rounds_in: str | None = None,
    cites: Iterable[str] = (),
) -> Callable[[Build], Build]:
    """Enter an optimizer: a function of parameter groups and a base lr. ``FLAGS`` explains its ``flags``.

    ``needs`` names the package to install for it. ``rounds_in`` names the precision in which it computes, if that is
    lower than that of the weights: then the bits of a result depend on how many runs are stepped together. ``cites``
    are keys of ``references.bib``.
    """
    optional = {"needs": needs, "rounds_in": rounds_in}
    facts = {name: value for name, value in optional.items() if value is not None}
    return OPTIMIZERS.register(name, flags=flags, revision=revision, cites=cites, default_lr=default_lr, **facts)


def built(choice: Choice, groups: Groups, lr: float) -> Optimizer:
    """Build the optimizer of a run over some parameter groups.

    Raises: ValueError when what its entry returns cannot be stepped, or has other groups than it was given.
    """
    entry = OPTIMIZERS[choice.name]
    made: Any = entry.build([*groups], lr, **entry.resolve(choice.settings))
    if missing := [name for name in ("param_groups", "step", "zero_grad") if not hasattr(made, name)]:
        raise ValueError(
            f"its builder returned {one_line(repr(made))}, without {' and '.join(missing)}: return a "
            f"torch.optim.Optimizer"
        )
    if len(made.param_groups) != len(groups) or not all("lr" in group for group in made.param_groups):
        raise ValueError(
            f"its builder was given {len(groups)} parameter groups, each with an lr, and made {len(made.param_groups)} "
            f"of them: keep them "
            'as they are, with the key "lr", so that the lr of each can be told'
        )
    return made if isinstance(made, Optimizer) else Adopted(made)


def swaps_weights(choice: Choice, optimizer: Any) -> bool:
    """Whether an optimizer swaps weights for evaluation: its entry says so, or it has ``train`` and ``eval``."""
    made = innermost(optimizer)
    return "train_eval" in OPTIMIZERS[choice.name].flags or all(
        callable(getattr(made, name, None)) for name in ("train", "eval")
    )


def _etas(values: tuple[float, float]) -> tuple[float, float]:
    if not 0.0 < values[0] < 1.0 < values[1]:
        raise fault(f"must be (shrink, grow) with 0 < shrink < 1 < grow, got {values}")
    return values


Pair = Annotated[tuple[Positive, Positive], Field(strict=False)]
Etas = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_etas)]


@optimizer("sgd", default_lr=1e-3, flags=["momentum"], cites=["sutskever2013importance", PYTORCH])
def sgd(
    groups: Groups,
    lr: float,
    *,
    momentum: Fraction = 0.0,
    dampening: Fraction = 0.0,
    weight_decay: NonNegative = 0.0,
    nesterov: bool = False,
) -> Optimizer:
    """Step along the negative gradient; with momentum, along its running sum. Weight decay is L2 regularisation.

    Source: Sutskever et al. 2013, On the importance of initialization and momentum in deep learning; torch.optim.SGD.
    """
    return torch.optim.SGD(groups, lr, momentum, dampening, weight_decay, nesterov)


@optimizer("adam", default_lr=1e-3, flags=["momentum"], cites=["kingma2015adam", "reddi2018convergence", PYTORCH])
def adam(
    groups: Groups,
    lr: float,
    *,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    amsgrad: bool = False,
) -> Optimizer:
    """Divide the mean gradient by the root of its mean square, per weight; eps steadies the division, it bounds no lr.

    Source: Kingma & Ba 2015, arXiv:1412.6980; amsgrad: Reddi et al. 2018, arXiv:1904.09237; torch.optim.Adam.
    """
    return torch.optim.Adam(groups, lr, betas, eps, weight_decay, amsgrad)


@optimizer("adamw", default_lr=1e-3, flags=["momentum"], cites=["loshchilov2019decoupled", PYTORCH])
def adamw(
    groups: Groups,
    lr: float,
    *,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.01,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam with decoupled weight decay: the weights shrink by lr x weight_decay, outside the adaptive scaling.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101; torch.optim.AdamW.
    """
    return torch.optim.AdamW(groups, lr, betas, eps, weight_decay, amsgrad)


@optimizer("nadam", default_lr=2e-3, flags=["momentum"], cites=["dozat2016incorporating", PYTORCH])
def nadam(
    groups: Groups,
    lr: float,
    *,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    momentum_decay: NonNegative = 4e-3,
    decoupled_weight_decay: bool = False,
) -> Optimizer:
    """Adam with Nesterov's look-ahead in the momentum.

    Source: Dozat 2016, Incorporating Nesterov momentum into Adam; torch.optim.NAdam.
    """
    return torch.optim.NAdam(groups, lr, betas, eps, weight_decay, momentum_decay, decoupled_weight_decay)


@optimizer("radam", default_lr=1e-3, flags=["momentum"], cites=["liu2020variance", PYTORCH])
def radam(
    groups: Groups,
    lr: float,
    *,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    decoupled_weight_decay: bool = False,
) -> Optimizer:
    """Adam that holds the adaptive scaling back until its variance is tractable: a warm-up built in.

    Source: Liu et al. 2020, arXiv:1908.03265; torch.optim.RAdam.
    """
    return torch.optim.RAdam(groups, lr, betas, eps, weight_decay, decoupled_weight_decay)


@optimizer("adamax", default_lr=2e-3, flags=["momentum"], cites=["kingma2015adam", PYTORCH])
def adamax(
    groups: Groups, lr: float, *, betas: Betas = (0.9, 0.999), eps: NonNegative = 1e-8, weight_decay: NonNegative = 0.0
) -> Optimizer:
    """Adam with the largest recent gradient in place of the root mean square.

    Source: Kingma & Ba 2015, arXiv:1412.6980, section 7; torch.optim.Adamax.
    """
    return torch.optim.Adamax(groups, lr, betas, eps, weight_decay)


@optimizer("adagrad", default_lr=1e-2, cites=["duchi2011adaptive", PYTORCH])
def adagrad(
    groups: Groups,
    lr: float,
    *,
    lr_decay: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
    eps: NonNegative = 1e-10,
) -> Optimizer:
    """Divide by the root of the sum of all squared gradients so far: the step only ever shrinks.

    Source: Duchi, Hazan & Singer 2011, Adaptive subgradient methods; torch.optim.Adagrad.
    """
    return torch.optim.Adagrad(groups, lr, lr_decay, weight_decay, initial_accumulator_value, eps)


@optimizer("adadelta", default_lr=1.0, cites=["zeiler2012adadelta", PYTORCH])
def adadelta(
    groups: Groups, lr: float, *, rho: Fraction = 0.9, eps: NonNegative = 1e-6, weight_decay: NonNegative = 0.0
) -> Optimizer:
    """Scale the gradient by the ratio of recent update size to recent gradient size.

    Source: Zeiler 2012, arXiv:1212.5701; torch.optim.Adadelta.
    """
    return torch.optim.Adadelta(groups, lr, rho, eps, weight_decay)


@optimizer("rmsprop", default_lr=1e-2, flags=["momentum"], cites=["hinton2012lecture", PYTORCH])
def rmsprop(
    groups: Groups,
    lr: float,
    *,
    alpha: Fraction = 0.99,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    momentum: Fraction = 0.0,
    centered: bool = False,
) -> Optimizer:
    """Divide the gradient by the root of its mean square; centred, by its standard deviation.

    Source: Hinton, Srivastava & Swersky 2012, Neural networks for machine learning, lecture 6; torch.optim.RMSprop.
    """
    return torch.optim.RMSprop(groups, lr, alpha, eps, weight_decay, momentum, centered)


@optimizer("rprop", default_lr=1e-2, flags=["not_proportional"], cites=["riedmiller1993direct", PYTORCH])
def rprop(groups: Groups, lr: float, *, etas: Etas = (0.5, 1.2), step_sizes: Pair = (1e-6, 50.0)) -> Optimizer:
    """Use only the gradient's sign: each weight's step size, at first lr, grows while the sign holds, else it shrinks.

    Source: Riedmiller & Braun 1993, A direct adaptive method for faster backpropagation learning; torch.optim.Rprop.
    """
    return torch.optim.Rprop(groups, lr, etas, step_sizes)


@optimizer("asgd", default_lr=1e-2, flags=["not_proportional"], cites=["polyak1992acceleration", PYTORCH])
def asgd(
    groups: Groups,
    lr: float,
    *,
    lambd: NonNegative = 1e-4,
    alpha: NonNegative = 0.75,
    t0: NonNegative = 1e6,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """SGD with a decaying step and a running average of the weights; the trained weights are used, as in PyTorch.

    Source: Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging; torch.optim.ASGD.
    """
    return torch.optim.ASGD(groups, lr, lambd, alpha, t0, weight_decay)


@optimizer("adafactor", default_lr=1e-2, flags=["not_proportional"], cites=["shazeer2018adafactor", PYTORCH])
def adafactor(
    groups: Groups, lr: float, *, beta2_decay: float = -0.8, d: Positive = 1.0, weight_decay: NonNegative = 0.0
) -> Optimizer:
    """Adam's scaling kept as row and column means of each matrix; the step is relative to the size of the weights.

    Source: Shazeer & Stern 2018, arXiv:1804.04235; torch.optim.Adafactor.
    """
    return torch.optim.Adafactor(groups, lr, beta2_decay, d=d, weight_decay=weight_decay)


@optimizer(
    "lbfgs",
    default_lr=1.0,
    flags=["closure", "closure_first", "not_proportional", "one_group"],
    cites=["liu1989limited", PYTORCH],
)
def lbfgs(
    groups: Groups,
    lr: float,
    *,
    max_iter: Count = 20,
    tolerance_grad: NonNegative = 1e-7,
    tolerance_change: NonNegative = 1e-9,
    history_size: Count = 100,
    line_search_fn: Literal["none", "strong_wolfe"] = "none",
) -> Optimizer:
    """Quasi-Newton steps from remembered gradients; evaluates a closure up to max_iter times and more within one step.

    Source: Liu & Nocedal 1989, On the limited memory BFGS method; torch.optim.LBFGS.
    """
    search = None if line_search_fn == "none" else line_search_fn
    return torch.optim.LBFGS(
        groups,
        lr,
        max_iter,
        tolerance_grad=tolerance_grad,
        tolerance_change=tolerance_change,
        history_size=history_size,
        line_search_fn=search,
    )


@optimizer(
    "muon",
    default_lr=1e-3,
    flags=["only_2d", "momentum"],
    rounds_in="bfloat16",
    cites=["jordan2024muon", "liu2025muon", PYTORCH],
)
def muon(
    groups: Groups,
    lr: float,
    *,
    momentum: Fraction = 0.95,
    nesterov: bool = True,
    ns_steps: Count = 5,
    weight_decay: NonNegative = 0.1,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    matrices: Annotated[Literal["hidden", "all"], Added("all")] = "hidden",
) -> Optimizer:
    """Orthogonalise the momentum of each hidden matrix, at AdamW's step size; AdamW (betas, eps) trains the rest.

    As its authors do, embeddings and the head belong to the rest, which has the same lr. With ``matrices = "all"``
    every 2-D weight is orthogonalised.

    Source: Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks; Liu et al. 2025,
    arXiv:2502.16982; torch.optim.Muon.
    """
    return Paired(
        groups,
        lambda some: torch.optim.Muon(
            some, lr, weight_decay, momentum, nesterov, ns_steps=ns_steps, adjust_lr_fn="match_rms_adamw"
        ),
        lambda rest: torch.optim.AdamW(rest, lr, betas, eps, weight_decay),
        takes=lambda group: group.get("use_muon", all(p.ndim == 2 for p in group["params"])),
    )


@optimizer("lion", default_lr=1e-4, flags=["momentum"], cites=["chen2023symbolic"])
def lion(groups: Groups, lr: float, *, betas: Betas = (0.9, 0.99), weight_decay: NonNegative = 0.0) -> Optimizer:
    """Step by lr along the sign of the momentum, every weight alike. Good lrs are 3 to 10 times below AdamW's.

    Source: Chen et al. 2023, arXiv:2302.06675.
    """
    return Lion(groups, lr, betas, weight_decay)


@optimizer("lars", default_lr=1.0, flags=["momentum", "not_proportional"], cites=["you2017large"])
def lars(
    groups: Groups,
    lr: float,
    *,
    momentum: Fraction = 0.9,
    weight_decay: NonNegative = 5e-4,
    trust_coefficient: Positive = 1e-3,
    exclude_1d: bool = True,
) -> Optimizer:
    """Momentum SGD; the step of each weight tensor is lr x trust_coefficient times the tensor's norm, per gradient.

    At the default lr of 1, the proportion is trust_coefficient. With exclude_1d, biases and norms have plain momentum
    SGD without weight decay.

    Source: You et al. 2017, arXiv:1708.03888.
    """
    return LARS(groups, lr, momentum, weight_decay, trust_coefficient, exclude_1d)


@optimizer("lamb", default_lr=1e-3, flags=["momentum"], cites=["you2020large"])
def lamb(
    groups: Groups,
    lr: float,
    *,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0.01,
    exclude_1d: bool = True,
) -> Optimizer:
    """AdamW's step, its length for each weight tensor made lr x the tensor's norm.

    The default lr is Adam's: biases take Adam's step, and a weight tensor one of a thousandth of its norm. With
    exclude_1d, biases and norms take Adam's step without weight decay.

    Source: You et al. 2020, arXiv:1904.00962.
    """
    return LAMB(groups, lr, betas, eps, weight_decay, exclude_1d)


@optimizer("sparse-adam", default_lr=1e-3, flags=["sparse"], cites=[PYTORCH])
def sparse_adam(groups: Groups, lr: float, *, betas: Betas = (0.9, 0.999), eps: Positive = 1e-8) -> Optimizer:
    """Adam that updates only the rows that a sparse gradient touches.

    Source: torch.optim.SparseAdam.
    """
    return torch.optim.SparseAdam(groups, lr, betas, eps)


@optimizer(
    "schedule-free-adamw",
    default_lr=2.5e-3,
    flags=["train_eval", "no_schedule", "momentum"],
    needs="schedulefree",
    cites=["defazio2024road"],
)
def schedule_free_adamw(
    groups: Groups,
    lr: float,
    *,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    warmup_steps: Annotated[int, Field(ge=0)] = 0,
) -> Optimizer:
    """AdamW whose averaging of iterates takes the place of a schedule.

    Source: Defazio et al. 2024, arXiv:2405.15682; package schedulefree.
    """
    from schedulefree import AdamWScheduleFree

    made: Optimizer = AdamWScheduleFree(groups, lr, betas, eps, weight_decay, warmup_steps)
    return made


@optimizer(
    "schedule-free-sgd",
    default_lr=1.0,
    flags=["train_eval", "no_schedule", "momentum"],
    needs="schedulefree",
    cites=["defazio2024road"],
)
def schedule_free_sgd(
    groups: Groups,
    lr: float,
    *,
    momentum: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9,
    weight_decay: NonNegative = 0.0,
    warmup_steps: Annotated[int, Field(ge=0)] = 0,
) -> Optimizer:
    """SGD whose averaging of iterates takes the place of a schedule.

    Source: Defazio et al. 2024, arXiv:2405.15682; package schedulefree.
    """
    from schedulefree import SGDScheduleFree

    made: Optimizer = SGDScheduleFree(groups, lr, momentum, weight_decay, warmup_steps)
    return made


@optimizer(
    "prodigy",
    default_lr=1.0,
    flags=["one_lr", "momentum", "not_proportional"],
    needs="prodigyopt",
    cites=["mishchenko2024prodigy"],
)
def prodigy(
    groups: Groups,
    lr: float,
    *,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    d_coef: Positive = 1.0,
) -> Optimizer:
    """Adam that estimates its own step size from the distance travelled; lr multiplies the estimate.

    Source: Mishchenko & Defazio 2024, arXiv:2306.06101; package prodigyopt.
    """
    from prodigyopt import Prodigy

    made: Optimizer = Prodigy(groups, lr, betas, eps=eps, weight_decay=weight_decay, d_coef=d_coef)
    return made
