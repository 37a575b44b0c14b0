"""What a layer-lr policy may know of a parameter: a description, not the tensor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Param:
    """One parameter of a model.

    ``layer`` counts the workload's layers from 0 (input) to the last (head); ``shape`` is the tensor's shape. A tied parameter, which has
    several names, lies in the last of the layers that use it.
    """

    name: str
    layer: int
    layer_name: str
    shape: tuple[int, ...]
    is_bias: bool
    is_norm: bool
    is_head: bool
    is_frozen: bool = False
    """Whether the model itself keeps it from training, or it holds no numbers that could: no strategy moves it."""
    is_sparse: bool = False
    """Whether its gradients are sparse tensors."""
    is_complex: bool = False
    tied: tuple[str, ...] = ()
    """Its other names in the model."""

    @property
    def width_in(self) -> int:
        """Input units, or channels, of a weight; 1 for vectors."""
        return self.shape[1] if len(self.shape) > 1 else 1
