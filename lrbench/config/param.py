"""Descriptions of a model's parameters. Layer-lr policies see these, not the tensors."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Param:
    """One parameter of a model.

    ``layer`` counts the workload's layers from 0 (input) to the last (head); ``shape`` is the tensor's shape. A tied
    parameter has several names. It belongs to the last layer that uses it, and has its widths and roles there.
    """

    name: str
    layer: int
    layer_name: str
    shape: tuple[int, ...]
    is_bias: bool
    is_norm: bool
    is_head: bool
    is_frozen: bool = False
    """Whether the model itself freezes it, or its numbers are whole: no strategy trains it."""
    is_sparse: bool = False
    """Whether its gradients are sparse tensors."""
    is_complex: bool = False
    is_embedding: bool = False
    """Whether its rows are looked up by index, or it is added to all inputs or put before them. A tied parameter is
    an embedding if any of its uses is."""
    is_input: bool = False
    """Whether it is an embedding, or the first weight that the data meets: the number of its inputs does not grow with
    the model."""
    tied: tuple[str, ...] = ()
    """Its other names in the model."""
    widths: tuple[int, int] | None = None
    """Input and output units, or channels, of a weight; inputs per group for a grouped convolution. None: as its shape
    says."""
    taps: int = 1
    """The number of positions of a convolution's kernel."""

    @property
    def width_in(self) -> int:
        """Input units, or channels, of a weight; 1 for vectors."""
        return self.widths[0] if self.widths else self.shape[1] if len(self.shape) > 1 else 1

    @property
    def width_out(self) -> int:
        """Output units, or channels."""
        return self.widths[1] if self.widths else self.shape[0] if self.shape else 1

    @property
    def fan_in(self) -> int:
        """The number of inputs that one output sums."""
        return self.width_in * self.taps

    @property
    def is_vector(self) -> bool:
        """Whether it scales or shifts units one by one: a bias, a norm, or anything with at most one dimension."""
        return self.is_bias or self.is_norm or len(self.shape) < 2

    @property
    def is_hidden_matrix(self) -> bool:
        """Whether it is a real matrix between two layers of units: neither an embedding nor the head's."""
        return len(self.shape) == 2 and not (self.is_vector or self.is_embedding or self.is_head or self.is_complex)
