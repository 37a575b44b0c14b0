"""What a layer-lr policy may know of a parameter: a description, not the tensor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Param:
    """One parameter of a model.

    ``layer`` counts the workload's layers from 0 (input) to the last (head); ``shape`` is the tensor's shape. A tied
    parameter, which has several names, lies in the last of the layers that use it, and has its widths and roles there.
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
    is_embedding: bool = False
    """Whether its rows are picked by number, or it is added to all inputs or put before them; of a tied one, whether
    any use is such."""
    is_input: bool = False
    """Whether it is an embedding, or the first weight that the data meets: then its inputs do not grow with the
    model."""
    tied: tuple[str, ...] = ()
    """Its other names in the model."""
    widths: tuple[int, int] | None = None
    """Input and output units, or channels, of a weight: of each group of a grouped convolution the inputs. None: those
    of its shape."""
    taps: int = 1
    """The places of a kernel."""

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
        """How many inputs one output sums."""
        return self.width_in * self.taps

    @property
    def is_vector(self) -> bool:
        """Whether it scales or shifts each unit by itself: biases, norms, and whatever has one dimension."""
        return self.is_bias or self.is_norm or len(self.shape) < 2

    @property
    def is_hidden_matrix(self) -> bool:
        """Whether it is a matrix of real numbers between two layers of units: neither an embedding nor the head's."""
        return len(self.shape) == 2 and not (self.is_vector or self.is_embedding or self.is_head or self.is_complex)
