"""Rules that use a parameter as a whole: LARS and LAMB, Adafactor, Muon; and Lion, which does not."""

import torch
from torch import Tensor

from lrbench.train.rules.adaptive import adam_start, adamw
from lrbench.train.rules.base import Hyper, State, add_square, filled, norm, rule, zeros


@rule("lion", zeros("mean"))
def lion(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper) -> None:
    """Lion: p <- (1 - lr weight_decay) p - lr sign(beta1 m + (1 - beta1) g); then m <- beta2 m + (1 - beta2) g.

    Shapes: p, g, s.mean [N, ...]; lr, h.* [N, 1, ..., 1].
    Source: Chen et al. 2023, arXiv:2302.06675, algorithm 2; agrees with lrbench.strategies.layerwise.Lion.
    """
    p.mul_(1 - lr * h["weight_decay"])
    p.addcmul_(s["mean"].lerp(g, 1 - h["beta1"]).sign_(), lr, value=-1)
    s["mean"].lerp_(g, 1 - h["beta2"])


def lars_start(p: Tensor, h: Hyper, *, exclude_1d: bool) -> State:
    """The running sum of steps. Shapes: [N, ...]."""
    return zeros("sum")(p, h)


@rule("lars", lars_start)
def lars(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper, *, exclude_1d: bool) -> None:
    """LARS: v <- momentum v + lr r (g + wd p), p <- p - v, with r = trust_coefficient |p| / (|g| + wd |p|).

    Where p or the denominator is 0, r is 1. With exclude_1d, parameters of at most one dimension have r = 1 and wd = 0.

    Shapes: p, g, s.sum [N, ...]; norms, lr, h.* [N, 1, ..., 1].
    Source: You et al. 2017, arXiv:1708.03888, algorithm 1; agrees with lrbench.strategies.layerwise.LARS.
    """
    s["sum"].mul_(h["momentum"])
    if exclude_1d and p.ndim <= 2:
        s["sum"].addcmul_(g, lr)
    else:
        size, scale = norm(p), norm(g) + h["weight_decay"] * norm(p)
        ratio = torch.where((size > 0) & (scale > 0), h["trust_coefficient"] * size / scale, 1.0)
        s["sum"].addcmul_(torch.addcmul(g, p, h["weight_decay"]), lr * ratio)
    p.sub_(s["sum"])


def lamb_start(p: Tensor, h: Hyper, *, exclude_1d: bool) -> State:
    """Mean gradient and mean square. Shapes: [N, ...]."""
    return zeros("mean", "square")(p, h)


@rule("lamb", lamb_start)
def lamb(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper, *, exclude_1d: bool) -> None:
    """LAMB: p <- p - lr |p| / |u| u, with Adam's step u = m^ / (sqrt(v^) + eps) + weight_decay p.

    Where a norm is 0, |p| / |u| is 1. With exclude_1d, a parameter of at most one dimension takes Adam's step.

    Shapes: p, g, s.* [N, ...]; norms, lr, t, h.* [N, 1, ..., 1].
    Source: You et al. 2020, arXiv:1904.00962, algorithm 2; agrees with lrbench.strategies.layerwise.LAMB.
    """
    s["mean"].lerp_(g, 1 - h["beta1"])
    add_square(s["square"], g, h["beta2"])
    root = filled(h["beta2"], t).sqrt()
    u = s["mean"] * (root / filled(h["beta1"], t)) / s["square"].sqrt().add_(root * h["eps"])
    if not (exclude_1d and p.ndim <= 2):
        u.addcmul_(p, h["weight_decay"])
        size, length = norm(p), norm(u)
        lr = lr * torch.where((size > 0) & (length > 0), size / length, 1.0)
    p.addcmul_(u, lr, value=-1)


def adafactor_start(p: Tensor, h: Hyper) -> State:
    """Mean squares: of rows [N, ..., a, 1] and columns [N, ..., 1, b] of a matrix; of a vector's elements [N, n]."""
    if p.ndim <= 2:
        return {"square": torch.zeros_like(p)}
    return {"row": torch.zeros_like(p[..., :1]), "column": torch.zeros_like(p[..., :1, :])}


@rule("adafactor", adafactor_start)
def adafactor(p: Tensor, g: Tensor, s: State, lr: Tensor, t: Tensor, h: Hyper) -> None:
    """Adafactor: p <- p - max(0.001, rms(p)) min(lr, 1 / sqrt(t)) u / max(1, rms(u) / d), with u = g / sqrt(v).

    v averages g^2 with beta2 = 1 - t^beta2_decay; of a matrix it is row x column / mean(row) over the last two
    dimensions. Weight decay is decoupled, and rms(p) is that before it.

    Shapes: p, g [N, ...]; s.* as in adafactor_start; norms, lr, t, h.* [N, 1, ..., 1].
    Source: Shazeer & Stern 2018, arXiv:1804.04235, algorithms 4 and 5; agrees with torch.optim.Adafactor.
    """
    weight = torch.exp(h["beta2_decay"] * t.log())
    tiny, root_size = torch.finfo(p.dtype).eps, (p.numel() / p.shape[0]) ** 0.5
    alpha = (norm(p) / root_size).clamp(min=1e-3) * torch.minimum(lr, 1 / t.sqrt())
    p.mul_(1 - lr * h["weight_decay"])
    if p.ndim <= 2:
        square = s["square"].lerp_(g * g, weight)
    else:
        s["row"].lerp_(torch.linalg.vector_norm(g, dim=-1, keepdim=True).square_().div_(p.shape[-1]), weight)
        s["column"].lerp_(torch.linalg.vector_norm(g, dim=-2, keepdim=True).square_().div_(p.shape[-2]), weight)
        square = s["row"] * s["column"] / s["row"].mean(dim=-2, keepdim=True).clamp_(min=tiny)
    u = square.clamp(min=tiny * tiny).rsqrt_().mul_(g)
    p.addcmul_(u, alpha / (norm(u) / root_size / h["d"]).clamp(min=1.0), value=-1)


def muon_start(p: Tensor, h: Hyper, *, is_matrix: bool, nesterov: bool, ns_steps: int, matrices: str) -> State:
    """The mean gradient of a matrix [N, a, b]; AdamW's state for the rest."""
    return zeros("mean")(p, h) if is_matrix else adam_start(p, h, amsgrad=False)


@rule("muon", muon_start, has_kinds=True, agrees_within=0.05)  # in bfloat16 another order of sums rounds to a neighbour
def muon(
    p: Tensor,
    g: Tensor,
    s: State,
    lr: Tensor,
    t: Tensor,
    h: Hyper,
    *,
    is_matrix: bool,
    nesterov: bool,
    ns_steps: int,
    matrices: str,
) -> None:
    """Muon: p <- (1 - lr weight_decay) p - 0.2 lr sqrt(max(a, b)) O for a matrix; AdamW for the rest.

    O is the orthogonalised momentum.

    Shapes: p, g, s.mean [N, a, b]; lr, t, h.* [N, 1, 1].
    Source: Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks; the step size: Liu et al. 2025,
    arXiv:2502.16982; agrees with torch.optim.Muon(adjust_lr_fn="match_rms_adamw").
    """
    if not is_matrix:
        adamw(p, g, s, lr, t, h, amsgrad=False)
        return
    mean = s["mean"].lerp_(g, 1 - h["momentum"])
    step = orthogonalised(g.lerp(mean, h["momentum"]) if nesterov else mean, ns_steps)
    p.mul_(1 - lr * h["weight_decay"])
    p.addcmul_(step.to(p.dtype), lr * (0.2 * max(p.shape[1:]) ** 0.5), value=-1)


def orthogonalised(x: Tensor, steps: int) -> Tensor:
    """About U V^T of each matrix's U S V^T: a quintic iteration in bfloat16 brings every singular value near 1.

    A matrix's result does not depend on its place. But the matmul of some machines sums small matrices in another order
    when N changes; then one element in many thousands may round to the neighbouring bfloat16.

    Shapes: x [N, a, b] -> bfloat16 [N, a, b]. Source: as muon.
    """
    tall = x.shape[1] > x.shape[2]
    x = x.bfloat16()
    x = x.mT if tall else x
    x = x / norm(x).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.mT if tall else x
