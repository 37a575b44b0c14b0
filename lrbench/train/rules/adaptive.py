"""Adam and its relatives: steps scaled by averages of the gradient and of its square."""

import math

import torch
from torch import Tensor

from lrbench.train.rules.base import Hyper, State, add_square, decayed, filled, rule, zeros


def adam_start(p: Tensor, h: Hyper, *, amsgrad: bool) -> State:
    """Mean gradient and mean square; for AMSGrad the largest mean square so far. Shapes: [N, ...]."""
    return zeros("mean", "square", *(["peak"] if amsgrad else []))(p, h)


@rule("adam", adam_start)
def adam(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper, *, amsgrad: bool) -> None:
    """Adam: p <- p - lr m^ / (sqrt(v^) + eps), with m^ and v^ the bias-corrected averages of g and g^2.

    Shapes: p, g, s.* [N, ...]; lr, t, h.* [N, 1, ..., 1].
    Source: Kingma & Ba 2015, arXiv:1412.6980, section 2 (corrections folded into the step); amsgrad: Reddi et al. 2018,
    arXiv:1904.09237; agrees with torch.optim.Adam.
    """
    _adam_step(p, decayed(p, g, h), s, lr, t, h, amsgrad=amsgrad)


@rule("adamw", adam_start)
def adamw(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper, *, amsgrad: bool) -> None:
    """AdamW: Adam after p <- (1 - lr weight_decay) p. Shapes: as adam.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2; agrees with torch.optim.AdamW.
    """
    p.mul_(1 - lr * h["weight_decay"])
    _adam_step(p, g, s, lr, t, h, amsgrad=amsgrad)


def _adam_step(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper, *, amsgrad: bool) -> None:
    s["mean"].lerp_(g, 1 - h["beta1"])
    add_square(s["square"], g, h["beta2"])
    square = s["peak"].clamp_(min=s["square"]) if amsgrad else s["square"]
    root = filled(h["beta2"], t).sqrt()  # m / c1 / (sqrt(v) / root + eps) = root / c1 x m / (sqrt(v) + root eps)
    denominator = square.sqrt().add_(root * h["eps"])
    p.addcmul_(s["mean"] / denominator, lr * root / filled(h["beta1"], t), value=-1)


def nadam_start(p: Tensor, h: Hyper, *, decoupled_weight_decay: bool) -> State:
    """Averages [N, ...] and the product of all momenta so far [N, 1, ..., 1].

    The product is in PyTorch's default dtype, as in PyTorch.
    """
    return zeros("mean", "square")(p, h) | {"product": torch.ones_like(h["beta1"], dtype=torch.get_default_dtype())}


@rule("nadam", nadam_start)
def nadam(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper, *, decoupled_weight_decay: bool) -> None:
    """NAdam: Adam with a step of this gradient and the next momentum, mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2).

    Shapes: p, g, s.mean, s.square [N, ...]; s.product, lr, t, h.* [N, 1, ..., 1].
    Source: Dozat 2016, Incorporating Nesterov momentum into Adam; agrees with torch.optim.NAdam.
    """
    g = _decay(p, g, lr, h, decoupled=decoupled_weight_decay)
    mu, mu_next = (
        h["beta1"] * (1 - 0.5 * torch.exp(math.log(0.96) * (step * h["momentum_decay"]))) for step in (t, t + 1)
    )
    product = s["product"].mul_(mu.to(s["product"].dtype)).to(p.dtype)
    mean = s["mean"].lerp_(g, 1 - h["beta1"])
    square = add_square(s["square"], g, h["beta2"])
    denominator = (square / filled(h["beta2"], t)).sqrt_().add_(h["eps"])
    ahead = g * (lr * (1 - mu) / (1 - product)) + mean * (lr * mu_next / (1 - product * mu_next))
    p.sub_(ahead / denominator)


@rule("radam", zeros("mean", "square"))
def radam(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper, *, decoupled_weight_decay: bool) -> None:
    """RAdam: Adam x rect while rho, the length of the average of squares, is above 5; before that momentum SGD.

    Shapes: p, g, s.* [N, ...]; lr, t, h.* [N, 1, ..., 1]. rho is a difference of large numbers, hence float64.
    Source: Liu et al. 2020, arXiv:1908.03265, algorithm 2; agrees with torch.optim.RAdam.
    """
    g = _decay(p, g, lr, h, decoupled=decoupled_weight_decay)
    s["mean"].lerp_(g, 1 - h["beta1"])
    add_square(s["square"], g, h["beta2"])
    beta2, steps = h["beta2"].double(), t.double()
    weight = filled(beta2, steps)
    longest = 2 / (1 - beta2) - 1
    rho = longest - 2 * steps * (1 - weight) / weight
    rect = ((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)).sqrt()
    adapts = rho > 5
    factor = torch.where(adapts, rect * weight.sqrt(), 1.0).to(p.dtype)
    denominator = torch.where(adapts, s["square"].sqrt().add_(h["eps"]), 1.0)
    p.addcmul_(s["mean"] / denominator, lr * factor / filled(h["beta1"], t), value=-1)


@rule("adamax", zeros("mean", "peak"))
def adamax(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper) -> None:
    """Adamax: p <- p - lr m^ / u, with m^ the bias-corrected average of g and u <- max(beta2 u, |g| + eps).

    Shapes: p, g, s.* [N, ...]; lr, t, h.* [N, 1, ..., 1].
    Source: Kingma & Ba 2015, arXiv:1412.6980, algorithm 2; agrees with torch.optim.Adamax.
    """
    g = decayed(p, g, h)
    s["mean"].lerp_(g, 1 - h["beta1"])
    s["peak"].mul_(h["beta2"]).clamp_(min=g.abs().add_(h["eps"]))
    p.addcmul_(s["mean"] / s["peak"], lr / filled(h["beta1"], t), value=-1)


def _decay(p: Tensor, g: Tensor, lr: Tensor, h: Hyper, *, decoupled: bool) -> Tensor:
    """Shrink p, or return the gradient with the decay in it."""
    if decoupled:
        p.mul_(1 - lr * h["weight_decay"])
        return g
    return decayed(p, g, h)
