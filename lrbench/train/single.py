"""One run with the reference trainer, from its seed or from its checkpoint."""

import torch

from lrbench.config.outcome import Outcome
from lrbench.config.run import Run
from lrbench.device import deterministic
from lrbench.train.checkpoint import Checkpoint
from lrbench.train.reference import Training
from lrbench.train.seeds import own_generators
from lrbench.train.trial import try_out
from lrbench.workloads import Data, Workload


def train(
    run: Run, workload: Workload, data: Data, device: torch.device, checkpoint: Checkpoint | None = None
) -> Outcome:
    """Train one run from its seed to its budget. From a checkpoint, the outcome is the same bit for bit.

    Shapes: as ``Outcome``. The validation set is evaluated every ``run.eval_every`` steps; the test set, and a part of
    the training set of the validation set's size, at the end. A run with a plug-in is tried first, see ``try_out``.

    Raises: AuditError when the lrs in use were not the declared ones; Interrupted when the checkpoint asks to stop;
    UnrepeatableError when the strategy gives another result each time; whatever the model or the optimizer raises.
    """
    deterministic()
    if try_out(run, workload, data, device).unresumable and checkpoint:
        checkpoint.switch_off()
    with own_generators(device):
        training = checkpoint and _resumed(run, workload, data, device, checkpoint)
        if not training:
            training = Training(run, workload, data, device)
            training.evaluate()
        while training.done < run.steps and not training.diverged:
            training.advance(training.to_edge, checkpoint.is_asked if checkpoint else None)
            if checkpoint and not training.diverged:
                checkpoint.visit(training.state_dict)
        return training.finish()


def _resumed(run: Run, workload: Workload, data: Data, device: torch.device, checkpoint: Checkpoint) -> Training | None:
    """The training in a checkpoint, or None if there is none that can continue."""
    state = checkpoint.load(run.key)
    if state is None:
        return None
    training = Training(run, workload, data, device)
    try:
        training.load_state_dict(state)
    except Exception as error:  # noqa: BLE001 - a plug-in's state may fail in any way, and the run can start again
        checkpoint.unreadable(error)
        return None
    return training
