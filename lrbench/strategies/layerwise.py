"""Lion, LARS and LAMB, which PyTorch does not have: the formulas of the papers, parameter by parameter."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class _Simple(Optimizer):
    """An optimizer whose step is one formula per parameter. Its state is ``averages``, which start at zero."""

    averages: tuple[str, ...] = ()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        with torch.no_grad():
            for p, group in self._with_gradient():
                state = self.state[p]
                if not state:
                    state.update(step=0, **{name: torch.zeros_like(p) for name in self.averages})
                state["step"] += 1
                self.update(p, p.grad, state, group)
        return loss

    def _with_gradient(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        return ((p, group) for group in self.param_groups for p in group["params"] if p.grad is not None)

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change p by one step."""
        raise NotImplementedError


class Lion(_Simple):
    """p <- (1 - lr weight_decay) p - lr sign(beta1 m + (1 - beta1) g); then m <- beta2 m + (1 - beta2) g.

    Source: Chen et al. 2023, Symbolic discovery of optimization algorithms, arXiv:2302.06675, algorithm 2.
    """

    averages = ("mean",)

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step."""
        beta1, beta2 = group["betas"]
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(state["mean"].lerp(g, 1 - beta1).sign_(), alpha=-group["lr"])
        state["mean"].lerp_(g, 1 - beta2)


class LARS(_Simple):
    """Momentum SGD with the lr of each tensor multiplied by trust_coefficient |p| / (|g| + weight_decay |p|).

    As in the paper, the lr is inside the momentum's sum: v <- momentum v + lr ratio (g + weight_decay p), p <- p - v.
    (Others multiply the sum by the current lr; the two differ when the lr changes.) Where the paper's ratio is 0 or
    0 / 0, for a tensor of zeros or without gradient, it is 1 here, or zeros would never train. With ``exclude_1d``,
    tensors of at most one dimension, biases and norms, have ratio 1 and no weight decay.

    Source: You, Gitman & Ginsburg 2017, Large batch training of convolutional networks, arXiv:1708.03888, algorithm 1.
    """

    averages = ("sum",)

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        trust_coefficient: float = 1e-3,
        exclude_1d: bool = True,
    ) -> None:
        settings = {
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "exclude_1d": exclude_1d,
        }
        super().__init__(params, {"lr": lr} | settings)

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step."""
        ratio: float | Tensor = 1.0
        if not (group["exclude_1d"] and p.ndim <= 1):
            size, scale = p.norm(), g.norm() + group["weight_decay"] * p.norm()
            ratio = torch.where((size > 0) & (scale > 0), group["trust_coefficient"] * size / scale, 1.0)
            g = g + group["weight_decay"] * p
        state["sum"].mul_(group["momentum"]).add_(g * (group["lr"] * ratio))
        p.sub_(state["sum"])


class LAMB(_Simple):
    """Adam's step with decoupled weight decay, scaled for each parameter tensor to the length lr x |p|.

    As in the paper's final version, the averages are bias-corrected and |p| is not clipped. Where |p| or the step is 0,
    the step is not scaled. With ``exclude_1d``, tensors of at most one dimension, biases and norms, take Adam's step
    without weight decay.

    Source: You et al. 2020, Large batch optimization for deep learning: training BERT in 76 minutes, arXiv:1904.00962,
    algorithm 2.
    """

    averages = ("mean", "square")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        exclude_1d: bool = True,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "exclude_1d": exclude_1d}
        )

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step."""
        beta1, beta2 = group["betas"]
        mean = state["mean"].lerp_(g, 1 - beta1) / (1 - beta1 ** state["step"])
        square = state["square"].mul_(beta2).addcmul_(g, g, value=1 - beta2) / (1 - beta2 ** state["step"])
        u = mean / (square.sqrt() + group["eps"])
        ratio: float | Tensor = 1.0
        if not (group["exclude_1d"] and p.ndim <= 1):
            u += group["weight_decay"] * p
            size, length = p.norm(), u.norm()
            ratio = torch.where((size > 0) & (length > 0), size / length, 1.0)
        p.sub_(u * (group["lr"] * ratio))
