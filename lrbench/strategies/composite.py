"""Optimizers made of others. A scheduler and a training loop see one optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer

Groups = list[dict[str, Any]]


class Paired(Optimizer):
    """Two optimizers that share the parameter groups between them.

    ``builds`` are two functions that make an optimizer from groups. The first gets the groups that ``takes`` accepts,
    the second the others. ``param_groups`` holds the same dicts as the two optimizers, in the order in which they were
    added, so that a schedule changes all of them.
    """

    def __init__(
        self, groups: Groups, *builds: Callable[[Groups], Optimizer], takes: Callable[[dict[str, Any]], bool]
    ) -> None:
        self._builds, self._takes = builds, takes
        self._parts: dict[int, Optimizer] = {}
        self._order: list[int] = []
        super().__init__(groups, {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the optimizer that it belongs to."""
        i = 0 if self._takes(param_group) else 1
        if i in self._parts:
            self._parts[i].add_param_group(param_group)
        else:
            self._parts[i] = self._builds[i]([param_group])
        self._order.append(i)
        self._link()

    def _link(self) -> None:
        groups = {i: iter(part.param_groups) for i, part in self._parts.items()}
        self.param_groups = [next(groups[i]) for i in self._order]

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - neither takes one
        """Step both."""
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of the two."""
        return {"parts": {i: part.state_dict() for i, part in self._parts.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the two."""
        for i, part in self._parts.items():
            part.load_state_dict(state_dict["parts"][i])
        self._link()


class Adopted(Optimizer):
    """Wraps an object that steps parameter groups but is no optimizer of torch, so that a scheduler accepts it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        super().__init__(inner.param_groups, {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the object. The groups that torch adds at construction are there already."""
        if not any(param_group is group for group in self.inner.param_groups):
            self.inner.add_param_group(param_group)
        self.param_groups = self.inner.param_groups

    def step(self, closure: Any = None) -> Any:
        """Step the object."""
        return self.inner.step() if closure is None else self.inner.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002 - torch's signature
        """Have the object zero its gradients."""
        self.inner.zero_grad()

    def train(self) -> None:
        """For an object that swaps weights around evaluations."""
        self.inner.train()

    def eval(self) -> None:
        """For an object that swaps weights around evaluations."""
        self.inner.eval()

    def state_dict(self) -> dict[str, Any]:
        """The object's state."""
        return {"inner": self.inner.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the object."""
        self.inner.load_state_dict(state_dict["inner"])
        self.param_groups = self.inner.param_groups


class Staged(Optimizer):
    """An optimizer whose groups join one after the other during training, with ``add_param_group``.

    ``param_groups`` lists all groups, joined or waiting, so that a scheduler updates the lrs of waiting groups too. The
    optimizer inside holds the joined groups, as the same dicts.
    """

    def __init__(self, groups: Groups, joins: Sequence[int], build: Callable[[Groups], Optimizer]) -> None:
        """``joins[i]`` is the number of steps done when ``groups[i]`` joins; ascending, the first 0."""
        self.joins = tuple(joins)
        self.inner = build([g for g, at in zip(groups, joins, strict=True) if at == 0])
        self._waiting = [g for g, at in zip(groups, joins, strict=True) if at > 0]
        self._states: dict[Any, Any] = {}
        """States that an optimizer makes of parameters when it is built: Adagrad's sum, before torch 2.12."""
        for group in self._waiting:
            alone = build([dict(group)])
            group.update(
                {name: value for name, value in alone.param_groups[0].items() if name != "params"}
            )  # for a scheduler to change
            self._states |= alone.state
        super().__init__(groups, self.inner.defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:  # noqa: ARG002 - torch's signature
        """Called by torch for each group at construction. The groups are known already."""
        self._link()

    def _link(self) -> None:
        self.param_groups = [*self.inner.param_groups, *self._waiting]

    def join(self, done: int) -> None:
        """Add the groups that join after ``done`` steps."""
        while self._waiting and self.joins[len(self.inner.param_groups)] <= done:
            group = self._waiting.pop(0)
            if "train_mode" in group:
                group["train_mode"] = self.inner.param_groups[0]["train_mode"]
            self.inner.add_param_group(group)
            self.inner.state.update({p: self._states[p] for p in group["params"] if p in self._states})
        self._link()

    def step(self, closure: Any = None) -> Any:
        """Step the joined groups."""
        return self.inner.step(closure)

    def train(self) -> None:
        """For an optimizer that swaps weights around evaluations."""
        self.inner.train()  # type: ignore[attr-defined]  # called only where the optimizer inside has it

    def eval(self) -> None:
        """For an optimizer that swaps weights around evaluations."""
        self.inner.eval()  # type: ignore[attr-defined]  # called only where the optimizer inside has it

    def state_dict(self) -> dict[str, Any]:
        """The state of the joined groups, and the options of the waiting ones."""
        waiting = [{k: v for k, v in g.items() if k != "params"} for g in self._waiting]
        return {"inner": self.inner.state_dict(), "waiting": waiting}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore; the same groups must have joined."""
        self.inner.load_state_dict(state_dict["inner"])
        for group, options in zip(self._waiting, state_dict["waiting"], strict=True):
            group.update(options)
        self._link()


def innermost(optimizer: Any) -> Any:
    """The optimizer as its entry made it, without lrbench's wrappers."""
    while isinstance(optimizer, Staged | Adopted):
        optimizer = optimizer.inner
    return optimizer
