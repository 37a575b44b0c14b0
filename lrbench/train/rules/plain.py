"""Rules without Adam's pair of averages: SGD, ASGD, Rprop, Adagrad, Adadelta, RMSprop."""

import torch
from torch import Tensor

from lrbench.train.rules.base import Hyper, State, add_square, decayed, rule, zeros


def sgd_start(p: Tensor, h: Hyper, *, momentum: bool, nesterov: bool) -> State:
    """With momentum a running sum of gradients. Shapes: [N, ...]."""
    return zeros("sum")(p, h) if momentum else {}


@rule("sgd", sgd_start, switches=("momentum",))
def sgd(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper, *, momentum: bool, nesterov: bool) -> None:
    """SGD: p <- p - lr b, with b <- momentum b + (1 - dampening) g, the first g undampened; Nesterov: g + momentum b.

    Shapes: p, g, s.sum [N, ...]; lr, t, h.* [N, 1, ..., 1].
    Source: Sutskever et al. 2013, On the importance of initialization and momentum in deep learning; agrees with
    torch.optim.SGD.
    """
    g = decayed(p, g, h)
    if momentum:
        s["sum"].mul_(h["momentum"]).addcmul_(g, torch.where(t == 1, 1.0, 1 - h["dampening"]))
        g = g.addcmul(s["sum"], h["momentum"]) if nesterov else s["sum"]
    p.addcmul_(g, lr, value=-1)


def asgd_start(p: Tensor, h: Hyper) -> State:
    """The step size of the next step [N, 1, ..., 1], in PyTorch's default dtype, as in PyTorch."""
    return {"eta": torch.zeros_like(h["lambd"], dtype=torch.get_default_dtype())}


@rule("asgd", asgd_start, agrees_within=1e-7)  # PyTorch keeps the step size in float32: 6e-9 apart on an H100
def asgd(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper) -> None:
    """ASGD: p <- (1 - lambd eta) p - eta g; then eta <- lr / (1 + lambd lr t)^alpha.

    As in PyTorch, a new lr acts one step later. The average of the weights, which starts at step t0, is left out:
    training does not read it, and lrbench evaluates the weights themselves.

    Shapes: p, g [N, ...]; s.eta, lr, t, h.* [N, 1, ..., 1].
    Source: Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging; agrees with torch.optim.ASGD.
    """
    g = decayed(p, g, h)
    eta = torch.where(t == 1, lr.to(s["eta"].dtype), s["eta"]).to(p.dtype)
    p.mul_(1 - h["lambd"] * eta).addcmul_(g, eta, value=-1)
    s["eta"].copy_(lr * torch.exp(-h["alpha"] * torch.log(1 + h["lambd"] * lr * t)))


@rule("rprop", zeros("last", "size"))
def rprop(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper) -> None:
    """Rprop: p <- p - size sign(g). Size grows while g keeps its sign; at a flip, it shrinks and p waits for a step.

    Shapes: p, g, s.* [N, ...]; lr, t, h.* [N, 1, ..., 1]. Only the lr of the first step matters: it is the first size.
    Source: Riedmiller & Braun 1993, A direct adaptive method for faster backpropagation learning; agrees with
    torch.optim.Rprop.
    """
    agreement = g * s["last"]
    flipped = agreement < 0
    change = torch.where(agreement > 0, h["eta_plus"], torch.where(flipped, h["eta_minus"], 1.0))
    s["size"].copy_(torch.where(t == 1, lr, s["size"]).mul(change).clamp(min=h["step_min"], max=h["step_max"]))
    s["last"].copy_(torch.where(flipped, 0.0, g))
    p.addcmul_(s["last"].sign(), s["size"], value=-1)


@rule("adagrad", lambda p, h: {"total": torch.zeros_like(p) + h["initial_accumulator_value"]})
def adagrad(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper) -> None:
    """Adagrad: p <- p - lr / (1 + (t - 1) lr_decay) x g / (sqrt(total) + eps), with total the sum of all g^2.

    Shapes: p, g, s.total [N, ...]; lr, t, h.* [N, 1, ..., 1].
    Source: Duchi, Hazan & Singer 2011, Adaptive subgradient methods; agrees with torch.optim.Adagrad.
    """
    g = decayed(p, g, h)
    s["total"].addcmul_(g, g)
    p.addcmul_(g / s["total"].sqrt().add_(h["eps"]), lr / (1 + (t - 1) * h["lr_decay"]), value=-1)


@rule("adadelta", zeros("square", "moved"))
def adadelta(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper) -> None:
    """Adadelta: p <- p - lr d, with d = g sqrt(moved + eps) / sqrt(square + eps); both are averages, of g^2 and of d^2.

    Shapes: p, g, s.* [N, ...]; lr, h.* [N, 1, ..., 1].
    Source: Zeiler 2012, arXiv:1212.5701, algorithm 1; agrees with torch.optim.Adadelta.
    """
    g = decayed(p, g, h)
    add_square(s["square"], g, h["rho"])
    step = (s["moved"] + h["eps"]).sqrt_().div_((s["square"] + h["eps"]).sqrt_()).mul_(g)
    add_square(s["moved"], step, h["rho"])
    p.addcmul_(step, lr, value=-1)


def rmsprop_start(p: Tensor, h: Hyper, *, momentum: bool, centered: bool) -> State:
    """The mean square, and the mean and the running sum where they are used. Shapes: [N, ...]."""
    return zeros("square", *(["mean"] if centered else []), *(["sum"] if momentum else []))(p, h)


@rule("rmsprop", rmsprop_start, switches=("momentum",))
def rmsprop(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper, *, momentum: bool, centered: bool) -> None:
    """RMSprop: p <- p - lr g / (sqrt(v) + eps), v the average of g^2, centred minus mean(g)^2; momentum sums the steps.

    Shapes: p, g, s.* [N, ...]; lr, h.* [N, 1, ..., 1].
    Source: Hinton, Srivastava & Swersky 2012, Neural networks for machine learning, lecture 6; centred: Graves 2013,
    arXiv:1308.0850; agrees with torch.optim.RMSprop.
    """
    g = decayed(p, g, h)
    square = add_square(s["square"], g, h["alpha"])
    if centered:
        mean = s["mean"].lerp_(g, 1 - h["alpha"])
        square = square.addcmul(mean, mean, value=-1)
    step = g / square.sqrt().add_(h["eps"])
    if momentum:
        step = s["sum"].mul_(h["momentum"]).add_(step)
    p.addcmul_(step, lr, value=-1)
