"""What people write as plug-ins trains as their own loop would, or is refused in words."""

import multiprocessing
import random
import re
import uuid
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch
from runs import a_run
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from lrbench.config.matrix import parse_matrix
from lrbench.config.run import Run
from lrbench.execute.executor import Task
from lrbench.execute.work import Worker
from lrbench.plan import make_plan, vocabulary
from lrbench.strategies import OPTIMIZERS, SCHEDULES, impossible
from lrbench.train import AuditError, Checkpoint, Interrupted, Population, Training, alone, notices, train
from lrbench.train.reference import ClosureError
from lrbench.train.seeds import Order, derive, seed_generators
from lrbench.train.trial import Trial, UnrepeatableError, tried, try_out
from lrbench.workloads import WORKLOADS, describe

DIGITS = WORKLOADS["digits-mlp"]
DATA = DIGITS.data()
CPU = torch.device("cpu")
QUICK = {"lbfgs": ("lbfgs", {"max_iter": 4})}


@pytest.fixture
def enter():
    """Enter an optimizer or a schedule under the name "mine" for a test."""

    def entered(build, catalog=OPTIMIZERS, flags=()):
        facts = {"default_lr": 0.05} if catalog is OPTIMIZERS else {}
        catalog.pop("mine", None)
        catalog.register("mine", flags=flags, **facts)(build)
        catalog["mine"] = replace(
            catalog["mine"], revision=uuid.uuid4().hex
        )  # no test remembers what another one found

    yield entered
    for catalog in (OPTIMIZERS, SCHEDULES):
        catalog.pop("mine", None)


@pytest.fixture
def said(capsys):
    """What is said on standard error, with nothing said before."""
    notices._said.clear()
    yield lambda: capsys.readouterr().err.splitlines()
    notices._said.clear()


def trained(run):
    """The training of a run at its end."""
    training = Training(run, DIGITS, DATA, CPU)
    training.evaluate()
    training.advance(run.steps)
    return training


def by_hand(run, make, step):
    """The weights after a loop as an author writes it; ``step(optimizer, closure)`` is a step of it."""
    seed_generators(derive(run.seed, "model"))
    model = DIGITS.model().double()
    data, optimizer, order = (
        DATA.to(CPU, torch.float64),
        make(model.parameters()),
        Order(run.seed, len(DATA.train), 32, 1, CPU),
    )
    for done in range(run.steps):
        [rows] = order(done)

        def closure(rows=rows):
            optimizer.zero_grad()
            loss = DIGITS.loss(model(data.train.x[rows]), data.train.y[rows])
            loss.backward()
            return loss

        step(optimizer, closure)
    return model.state_dict(), optimizer


def assert_close(model, expected):
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-7, atol=1e-12)


def assert_same(one, other):
    for name in ("eval_step", "val_loss", "step_loss", "group_lr"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def resumed(run, path, workload=DIGITS):
    """The outcome of a run that is interrupted after its first interval, and goes on."""
    with pytest.raises(Interrupted):
        train(run, workload, DATA, CPU, Checkpoint(path, stop=lambda: True))
    return train(run, workload, DATA, CPU, Checkpoint(path))


class Plain(Optimizer):
    """SGD, to be changed by a test."""

    def __init__(self, groups, lr):
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad)


class Strict(Plain):
    def __init__(self, groups, lr):
        groups = list(groups)
        assert all(set(group) == {"params", "lr"} for group in groups)
        super().__init__(groups, lr)


class Hyper(Plain):
    """Learns its lr."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            states = [(p, self.state[p]) for p in group["params"]]
            group["lr"] += 1e-2 * sum(float((p.grad * state["last"]).sum()) for p, state in states if "last" in state)
            for p, state in states:
                state["last"] = p.grad.clone()
        super().step()


class Once(Plain):
    """Calls its closure once before it steps, and returns nothing."""

    calls = 0

    def step(self, closure):
        with torch.enable_grad():
            closure()
        Once.calls += 1
        super().step()


class Careless(Plain):
    def step(self, closure=None):
        super().step()
        self.param_groups[0]["lr"] *= 0.5


class InTensor(Plain):
    def __init__(self, groups, lr):
        super().__init__([group | {"lr": torch.tensor(group["lr"])} for group in groups], lr)


class Averaging(Plain):
    """Evaluates at the mean of its iterates."""

    def __init__(self, groups, lr):
        super().__init__(groups, lr)
        self.steps = 0

    def step(self, closure=None):
        super().step()
        self.steps += 1
        for p in (p for group in self.param_groups for p in group["params"]):
            mean = self.state[p].setdefault("mean", torch.zeros_like(p))
            mean += (p.detach() - mean) / self.steps

    def train(self):
        for p, state in self.state.items():
            p.data = state.pop("kept", p.data)

    def eval(self):
        assert self.state  # as those expect who evaluate after training only
        for p, state in self.state.items():
            state["kept"], p.data = p.data, state["mean"].clone()


class Wrapper:
    """No optimizer of torch."""

    def __init__(self, inner):
        self.inner = inner

    @property
    def param_groups(self):
        return self.inner.param_groups

    def step(self):
        self.inner.step()

    def zero_grad(self):
        self.inner.zero_grad()

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state):
        self.inner.load_state_dict(state)


class TestOptimizers:
    def test_groups_hold_no_key_but_params_and_lr(self, enter, cpu):
        enter(lambda groups, lr: Strict(groups, lr))
        assert len(train(a_run(optimizer="mine", layer_lr="depth-decay"), DIGITS, DATA, cpu).groups) > 1

    def test_sam_of_a_package_trains_as_its_authors_loop(self, enter):
        sam = pytest.importorskip("pytorch_optimizer").SAM

        def make(params):
            return sam(params, torch.optim.SGD, lr=0.1, momentum=0.9)

        def step(optimizer, closure):
            closure()
            optimizer.step(closure)

        enter(lambda groups, lr: make(groups), flags=["closure"])
        run = a_run(optimizer="mine", lr=0.1, precision="fp64", steps=30)
        ours = trained(run)
        assert_close(ours.model, by_hand(run, make, step)[0])
        plain = trained(a_run(optimizer="sgd", lr=0.1, precision="fp64", steps=1))
        assert ours.record.loss[0, 0] == plain.record.loss[0, 0]  # of the batch, before the step

    @pytest.mark.parametrize(("flags", "passes"), [(["closure"], 2), (["closure", "closure_first"], 1)])
    def test_a_closure_may_return_nothing_and_costs_a_pass_less_where_it_comes_first(self, flags, passes, enter, cpu):
        enter(lambda groups, lr: Once(groups, lr), flags=flags)
        ours = Training(a_run(optimizer="mine", lr=0.1), DIGITS, DATA, cpu)
        seen = []
        ours.model.register_forward_pre_hook(lambda *_: seen.append(1))
        ours.step(ours.order(0))
        assert len(seen) == passes
        same = [trained(a_run(optimizer=name, lr=0.1)).record.loss for name in ("mine", "sgd")]
        np.testing.assert_allclose(*same, rtol=1e-6)

    def test_one_that_should_call_its_closure_and_does_not_is_told(self, enter, cpu):
        class Idle(Plain):
            def step(self, closure):
                pass

        enter(lambda groups, lr: Idle(groups, lr), flags=["closure", "closure_first"])
        with pytest.raises(ClosureError, match="did not call its closure, as the flag closure_first says"):
            train(a_run(optimizer="mine"), DIGITS, DATA, cpu)

    def test_lrs_in_tensors_are_recorded_as_they_were(self, enter, cpu):
        enter(lambda groups, lr: InTensor(groups, lr))
        run = a_run(optimizer="mine", schedule="cosine", layer_lr="depth-decay")
        found, plain = (
            train(r, DIGITS, DATA, cpu).group_lr
            for r in (run, a_run("digits-mlp", "sgd", "depth-decay", "cosine", lr=run.lr))
        )
        np.testing.assert_allclose(found, plain, rtol=1e-5)

    def test_one_that_sets_its_own_lr_is_left_alone_and_recorded(self, enter):
        enter(lambda groups, lr: Hyper(groups, lr), flags=["no_schedule"])
        run = a_run(optimizer="mine", precision="fp64")
        ours = trained(run)
        weights, optimizer = by_hand(
            run, lambda params: Hyper(params, run.lr), lambda optimizer, closure: (closure(), optimizer.step())
        )
        assert_close(ours.model, weights)
        assert ours.lrs[0][-1] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        assert ours.lrs[0][-1] > 1.1 * run.lr
        assert set(ours.optimizer.param_groups[0]) == {"params", "lr"}
        assert train(run, DIGITS, DATA, CPU).group_lr[-1] == ours.lrs[0][-1]

    def test_an_lr_that_changes_inside_the_step_is_an_error_unless_declared(self, enter, cpu):
        enter(lambda groups, lr: Careless(groups, lr))
        with pytest.raises(
            AuditError,
            match=r"'layer1\.\.head' had lr 0\.05 before step 1 and 0\.025 after it: mine changes .*no_schedule",
        ):
            train(a_run(optimizer="mine"), DIGITS, DATA, cpu)
        enter(lambda groups, lr: Careless(groups, lr), flags=["no_schedule"])
        assert train(a_run(optimizer="mine"), DIGITS, DATA, cpu).group_lr[1] == pytest.approx(0.05 * 0.5**10)

    @pytest.mark.parametrize("layer_lr", ["uniform", "gradual-unfreezing"])
    def test_one_with_train_and_eval_needs_no_flag(self, layer_lr, enter):
        found = []
        for flags in ([], ["train_eval"]):
            enter(lambda groups, lr: Averaging(groups, lr), flags=flags)
            found.append(train(a_run(optimizer="mine", layer_lr=layer_lr), DIGITS, DATA, CPU))
        assert_same(*found)
        enter(lambda groups, lr: Plain(groups, lr))
        plain = train(a_run(optimizer="mine", layer_lr=layer_lr), DIGITS, DATA, CPU)
        np.testing.assert_array_equal(plain.step_loss, found[0].step_loss)
        assert plain.val_loss[-1] != found[0].val_loss[-1]

    @pytest.mark.parametrize("schedule", ["cosine", "plateau"])
    def test_one_that_is_none_of_torchs_is_wrapped(self, schedule, enter, tmp_path, cpu):
        enter(lambda groups, lr: Wrapper(torch.optim.SGD(groups, lr, 0.9)))
        run, plain = (a_run(optimizer=o, schedule=schedule, lr=0.05) for o in ("mine", ("sgd", {"momentum": 0.9})))
        expected = train(plain, DIGITS, DATA, cpu)
        assert_same(train(run, DIGITS, DATA, cpu), expected)
        assert_same(resumed(run, tmp_path / "run.pt"), expected)

    @pytest.mark.parametrize(
        ("build", "reason"),
        [
            (lambda groups, lr: None, "mine: its builder returned None, without param_groups and step and zero_grad"),
            (
                lambda groups, lr: Plain([{"params": [p]} for p in groups[0]["params"]], lr),
                "was given 1 parameter groups, .* and made 6",
            ),
        ],
        ids=["nothing", "other groups"],
    )
    def test_what_cannot_be_trained_with_is_skipped_in_words(self, build, reason, enter):
        enter(build)
        [skip] = make_plan(
            parse_matrix({"name": "m", "workload": "digits-mlp", "optimizer": "mine", "seed": 0}, vocabulary())
        ).skips
        assert re.search(reason, skip.reason)


class ByHand:
    """A scheduler that is none of torch's."""

    def __init__(self, optimizer, number):
        self.optimizer, self.number = optimizer, number
        self.base = [group["lr"] for group in optimizer.param_groups]

    def step(self):
        self.base = [lr * 0.97 for lr in self.base]
        for group, lr in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = self.number(lr)


class InNumpy(LRScheduler):
    """Keeps its state in NumPy."""

    def __init__(self, optimizer):
        self.factors = np.ones(2, np.float32)
        super().__init__(optimizer)

    def get_lr(self):
        self.factors = self.factors * np.float32(0.97)
        return [base * self.factors[0] for base in self.base_lrs]


class FromGenerator(LRScheduler):
    """Cannot be pickled."""

    def __init__(self, optimizer, total):
        self.factors = (1 - i / (total + 1) for i in range(total + 1))
        super().__init__(optimizer)

    def get_lr(self):
        factor = next(self.factors, 0.0)
        return [base * factor for base in self.base_lrs]


class Watching:
    """A closed loop of one's own."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def step(self, loss):
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.5


class TestSchedules:
    @pytest.mark.parametrize("number", [float, np.float64, np.float32, torch.tensor], ids=lambda f: f.__name__)
    def test_numbers_of_any_kind_and_schedulers_that_are_none(self, number, enter, cpu):
        enter(lambda optimizer, total: ByHand(optimizer, number), SCHEDULES)
        runs = [a_run(optimizer="sgd", layer_lr="depth-decay", schedule="mine", lr=0.1, seed=seed) for seed in (0, 1)]
        outcomes = [train(run, DIGITS, DATA, cpu) for run in runs]
        before = [0, 9, 19, 29, 39]
        assert outcomes[0].group_lr.dtype == np.float64
        np.testing.assert_allclose(outcomes[0].group_lr[:, -1], 0.1 * 0.97 ** np.array(before), rtol=1e-6)
        assert alone(runs[0]) is None
        together = {run.key: outcome for run, outcome in Population(runs, DIGITS, DATA, cpu).train()}
        for run, outcome in zip(runs, outcomes, strict=True):
            np.testing.assert_allclose(together[run.key].step_loss, outcome.step_loss, rtol=1e-4)
            np.testing.assert_allclose(together[run.key].group_lr, outcome.group_lr, rtol=1e-6)

    @pytest.mark.parametrize("warmup", [0, 0.2])
    @pytest.mark.parametrize(
        ("build", "flags", "reason"),
        [
            (
                lambda o, total: ReduceLROnPlateau(o),
                [],
                r"mine.*: its step\(metrics, epoch\) needs a value, .*closed_loop",
            ),
            (
                lambda o, total: Watching(o),
                [],
                r"mine.*: its step\(loss\) needs a value, .* register it with flags=\[\"closed_loop\"\]",
            ),
            (
                lambda o, total: LambdaLR(o, lambda s: 1.0),
                ["closed_loop"],
                "its step takes no validation loss, .*: leave the flag out",
            ),
            (lambda o, total: ByHand(o, float), ["closed_loop"], "its step takes no validation loss"),
        ],
        ids=["of torch", "own", "open of torch", "open"],
    )
    def test_a_loop_that_is_not_as_its_flag_says_is_skipped(self, build, flags, reason, warmup, enter):
        enter(build, SCHEDULES, flags)
        matrix = {
            "name": "m",
            "workload": "digits-mlp",
            "optimizer": "sgd",
            "schedule": {"name": "mine", "warmup": warmup},
            "seed": 0,
        }
        [skip] = make_plan(parse_matrix(matrix, vocabulary())).skips
        assert re.search(reason, skip.reason)

    def test_a_closed_loop_of_ones_own_trains(self, enter, cpu):
        enter(lambda optimizer, total: Watching(optimizer), SCHEDULES, ["closed_loop"])
        assert train(a_run(schedule="mine", lr=0.1), DIGITS, DATA, cpu).group_lr.ravel().tolist() == [
            0.1,
            0.1,
            0.05,
            0.025,
            0.0125,
        ]

    def test_a_state_in_numpy_is_resumed(self, enter, tmp_path, said, cpu):
        enter(lambda optimizer, total: InNumpy(optimizer), SCHEDULES)
        run = a_run(schedule="mine", lr=0.1)
        assert_same(resumed(run, tmp_path / "run.pt"), train(run, DIGITS, DATA, cpu))
        assert said() == []

    def test_a_state_that_cannot_be_saved_costs_the_checkpoint_and_is_said_once(self, enter, tmp_path, said, cpu):
        enter(lambda optimizer, total: FromGenerator(optimizer, total), SCHEDULES)
        run = a_run(schedule="mine", lr=0.1)
        outcomes = [train(run, DIGITS, DATA, cpu, Checkpoint(tmp_path / "run.pt", every_seconds=0.0)) for _ in range(2)]
        assert_same(outcomes[0], train(run, DIGITS, DATA, cpu))
        [line] = said()
        assert "sgd / uniform / mine: its state cannot be saved (TypeError: cannot pickle 'generator' object)" in line
        assert not any(tmp_path.iterdir())
        assert_same(resumed(run, tmp_path / "run.pt"), outcomes[0])


class Kept:
    """A class of one's own, in a state."""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1.5, 2}, ""),
        (deque([1.0]), r"\(UnpicklingError: it holds a collections\.deque\)"),
        (Kept(), r"cannot be restored \(UnpicklingError: it holds a .*Kept\)"),
    ],
)
def test_which_values_a_state_may_hold(value, words, enter, said, cpu):
    class Holds(InNumpy):
        def __init__(self, optimizer):
            self.value = value
            super().__init__(optimizer)

    enter(lambda optimizer, total: Holds(optimizer), SCHEDULES)
    train(a_run(schedule="mine"), DIGITS, DATA, cpu)
    lines = said()
    assert len(lines) == bool(words)
    assert re.search(words, " ".join(lines))


def test_what_cannot_be_saved_all_at_once_costs_no_run(tmp_path, said, cpu, monkeypatch):
    monkeypatch.setattr(Training, "state_dict", lambda _: {"one": lambda: 1})
    train(a_run(), DIGITS, DATA, cpu, Checkpoint(tmp_path / "run.pt", every_seconds=0.0))
    [line] = said()
    assert line.startswith("no checkpoint can be saved (")
    assert line.endswith("if the run is interrupted, it starts again")


@pytest.mark.parametrize("part", ["file", "optimizer"])
def test_a_checkpoint_that_cannot_be_used_is_told(part, tmp_path, said, cpu):
    run, path = a_run(optimizer="adam"), tmp_path / "run.pt"
    with pytest.raises(Interrupted):
        train(run, DIGITS, DATA, cpu, Checkpoint(path, stop=lambda: True))
    if part == "file":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        torch.save(torch.load(path) | {"optimizer": {}}, path)
    assert_same(train(run, DIGITS, DATA, cpu, Checkpoint(path)), train(run, DIGITS, DATA, cpu))
    [line] = said()
    assert line.startswith(f"{path}: this checkpoint cannot be used (")
    assert line.endswith("): the run starts again")


class Forgets(Plain):
    """Its momentum is an attribute, which no state_dict holds."""

    def __init__(self, groups, lr):
        super().__init__(groups, lr)
        self.sums = {}

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.sums[p] = 0.9 * self.sums.get(p, 0.0) + p.grad
                p.sub_(group["lr"] * self.sums[p])


class Noisy(Plain):
    """Draws its noise from a generator."""

    def __init__(self, groups, lr, draw):
        super().__init__(groups, lr)
        self.draw = draw

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad += self.draw()
        super().step()


class OfTheRoot(Plain):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data -= group["lr"] ** 0.5 * p.grad


def global_draw():
    return 0.01 * (random.random() + np.random.normal() + float(torch.rand(1)))


class TestProbe:
    def test_what_gives_another_result_each_time_is_an_error(self, enter, cpu):
        enter(lambda groups, lr: Noisy(groups, lr, np.random.default_rng().random))
        with pytest.raises(
            UnrepeatableError,
            match=r"trained twice from the same seed, it gave other losses. Likely causes: .*default_rng\(\)",
        ):
            train(a_run(optimizer="mine"), DIGITS, DATA, cpu)

    def test_one_generator_for_all_runs_is_an_error_too(self, enter, cpu):
        shared = np.random.default_rng(0)
        enter(lambda groups, lr: Noisy(groups, lr, shared.random))
        with pytest.raises(UnrepeatableError):
            train(a_run(optimizer="mine"), DIGITS, DATA, cpu)

    def test_an_incomplete_state_costs_the_checkpoints_and_nothing_is_resumed_wrong(self, enter, tmp_path, said, cpu):
        enter(lambda groups, lr: Forgets(groups, lr))
        run = a_run(optimizer="mine")
        expected = train(run, DIGITS, DATA, cpu)
        assert_same(resumed(run, tmp_path / "run.pt"), expected)
        [line] = said()
        assert "mine / uniform / constant: what it saves is not all of its state: it leaves out Forgets.sums" in line
        assert "no checkpoint is saved: a run that is interrupted starts again" in line

    def test_a_state_that_acts_late_or_at_evaluations_only_is_missed_too(self, enter, said, tmp_path, cpu):
        """As that of Lookahead after fifteen steps, and the count of an average of weights."""

        class Counts(Plain):
            count = 0

            def step(self, closure=None):
                self.count += 1
                if self.count == 15:
                    for group in self.param_groups:
                        for p in group["params"]:
                            p.data.mul_(0.5)
                return super().step(closure)

        enter(lambda groups, lr: Counts(groups, lr))
        run = a_run(optimizer="mine")
        assert_same(resumed(run, tmp_path / "run.pt"), train(run, DIGITS, DATA, cpu))
        assert any("it leaves out Counts.count; no checkpoint is saved" in line for line in said())

    def test_an_update_that_the_lr_does_not_scale_is_told_once_unless_declared(self, enter, said, cpu):
        for flags in ([], ["not_proportional"]):
            enter(lambda groups, lr: OfTheRoot(groups, lr), flags=flags)
            for seed in (0, 1):
                train(a_run(optimizer="mine", seed=seed, steps=20 + len(flags)), DIGITS, DATA, cpu)
        [line] = said()
        assert line.startswith(
            "the update of 'mine' is not proportional to the lr: twice the update at half the lr is 0.41 of it away."
        )

    def test_it_changes_no_bit_of_the_run_and_writes_no_file(self, enter, tmp_path, monkeypatch, cpu):
        enter(lambda groups, lr: Noisy(groups, lr, global_draw))
        run = a_run(optimizer="mine", schedule="plateau", layer_lr="gradual-unfreezing")
        monkeypatch.chdir(tmp_path)
        first = train(run, DIGITS, DATA, cpu)
        monkeypatch.setattr(Run, "has_plugin", False)
        assert_same(first, train(run, DIGITS, DATA, cpu))
        assert not any(tmp_path.iterdir())

    def test_it_is_made_once_for_runs_of_a_kind(self, enter, monkeypatch, cpu):
        enter(lambda groups, lr: Plain(groups, lr))
        made = []
        monkeypatch.setattr(Trial, "__init__", lambda self, *rest: (made.append(1), Training.__init__(self, *rest))[1])
        found = {
            id(try_out(a_run(optimizer="mine", seed=seed, lr=lr), DIGITS, DATA, cpu))
            for seed in (0, 1)
            for lr in (0.1, 0.2)
        }
        assert len(found) == 1
        assert len(made) == 5

    def test_an_error_of_the_run_is_told_in_its_own_words(self, enter, cpu):
        def build(groups, lr):
            class Breaks(Plain):
                def step(self, closure=None):
                    raise ArithmeticError("no such step")

            return Breaks(groups, lr)

        enter(build)
        with pytest.raises(ArithmeticError, match=r"^no such step$"):
            train(a_run(optimizer="mine"), DIGITS, DATA, cpu)

    @pytest.mark.parametrize("steps", [1, 2, 5])
    def test_a_short_run_is_tried_no_longer_than_it_is(self, steps, enter, cpu):
        enter(lambda groups, lr: Plain(groups, lr))
        assert not any(
            vars(try_out(a_run(optimizer="mine", schedule="one-cycle", steps=steps), DIGITS, DATA, cpu)).values()
        )

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_every_built_in_optimizer_is_repeatable_and_resumable(self, name, cpu):
        run = a_run("digits-mlp", QUICK.get(name, name), "bias-norm", "cosine")
        if impossible(run, describe(DIGITS, DIGITS.model())):
            run = a_run("digits-mlp", QUICK.get(name, name))
        if reason := impossible(run, describe(DIGITS, DIGITS.model())):
            pytest.skip(reason)
        assert not run.has_plugin
        assert not any(vars(tried(run, lambda run: Trial(run, DIGITS, DATA, cpu))).values())


NOT_PROPORTIONAL = {
    "rprop": "its lr is the first step size only",
    "asgd": "an lr acts a step later",
    "adafactor": "beyond 1 / sqrt(step), its lr does nothing",
    "lbfgs": "a step is many small ones, each from where the last one ended",
    "lars": "the lr is inside the momentum",
    "prodigy": "the estimate of the step size follows the lr",
    "schedule-free-adamw": "weights move towards an average",
    "schedule-free-sgd": "weights move towards an average",
}
"""Built-in optimizers whose update at half the lr is not half the update, and why."""


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_which_updates_are_proportional_to_the_lr(name, monkeypatch, cpu):
    entry, run = OPTIMIZERS[name], a_run("digits-mlp", QUICK.get(name, name))
    if reason := impossible(run, describe(DIGITS, DIGITS.model())):
        pytest.skip(reason)
    declared = bool(entry.flags & {"not_proportional", "no_schedule"})
    monkeypatch.setitem(
        OPTIMIZERS, name, entry.__class__(**vars(entry) | {"flags": entry.flags - {"not_proportional", "no_schedule"}})
    )
    lr = 2.0 if name == "adafactor" else run.lr
    assert bool(tried(run.but(lr=lr), lambda run: Trial(run, DIGITS, DATA, cpu)).disproportionate) == (
        name in NOT_PROPORTIONAL
    )
    assert declared == (name in NOT_PROPORTIONAL)


def drawn_by(draw):
    """A workload whose models begin with other weights, a factor away."""

    def model():
        made = DIGITS.model()
        with torch.no_grad():
            next(made.parameters()).mul_(draw())
        return made

    return replace(DIGITS, name="drawn", model=model)


class TestRandomness:
    def test_a_model_that_draws_from_numpy_and_python_is_the_same_in_a_population(self, cpu):
        workload = drawn_by(lambda: random.random() + np.random.random())
        runs = [a_run(seed=seed) for seed in (0, 1)]
        together = {run.key: outcome for run, outcome in Population(runs, workload, DATA, cpu).train()}
        for run in runs:
            np.testing.assert_allclose(
                together[run.key].step_loss, train(run, workload, DATA, cpu).step_loss, rtol=1e-5
            )

    def test_one_that_draws_anew_crashes_alone_and_together(self, monkeypatch, tmp_path, cpu):
        generator = np.random.default_rng()
        monkeypatch.setitem(WORKLOADS, "drawn", replace(drawn_by(generator.random), revision="of a test"))
        runs = [a_run("drawn", seed=seed) for seed in (0, 1)]
        for unit in (Task(tuple(runs), width=2), Task(tuple(runs[:1]))):
            for _, outcome in Worker(cpu, tmp_path).carry_out(unit):
                assert outcome.reason.startswith(
                    "UnrepeatableError: trained twice from the same seed, it gave other losses. Likely causes:"
                )

    def test_all_global_generators_are_resumed(self, enter, tmp_path, said, cpu):
        enter(lambda groups, lr: Noisy(groups, lr, global_draw))
        run = a_run(optimizer="mine")
        assert_same(resumed(run, tmp_path / "run.pt"), train(run, DIGITS, DATA, cpu))
        assert said() == []

    def test_they_derive_from_the_seed_of_the_run(self, enter, cpu):
        enter(lambda groups, lr: Noisy(groups, lr, lambda: random.random() + np.random.random()))
        first, again = (trained(a_run(optimizer="mine", seed=0)).record.loss for _ in range(2))
        np.testing.assert_array_equal(first, again)

    def test_they_are_given_back(self, cpu):
        def drawn():
            return random.random(), np.random.random(), float(torch.rand(1))

        seed_generators(3)
        expected = drawn()
        seed_generators(3)
        train(a_run(steps=10), DIGITS, DATA, cpu)
        assert drawn() == expected


def test_what_one_worker_says_no_other_repeats(said):
    notices.share(multiprocessing.get_context("spawn").Array("c", 64))
    try:
        for _ in range(2):
            for line in ("one", "another", "one"):
                notices.say_once(line)
            notices._said.clear()  # as in another process
        assert said() == ["one", "another"]
    finally:
        notices.share(None)
