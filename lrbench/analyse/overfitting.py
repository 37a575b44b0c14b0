"""How much better a run does on what it has seen than on what it has not."""


def overfitting_gap(val_loss: float, train_loss: float) -> float:
    """Final validation loss - final training loss, in units of the loss; both evaluated alike. NaN if either is missing."""
    return val_loss - train_loss
