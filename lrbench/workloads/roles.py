"""The role of a parameter in its module: bias, norm, embedding or weight, and how many inputs an output sums."""

import math
import re
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
TABLES = (nn.Embedding, nn.EmbeddingBag)
GAINS = frozenset(("weight", "gamma", "beta", "scale", "shift", "gain", "g"))
"""Names of the vectors in a user's own norms and layer scales."""
EMBEDDING = re.compile(r"embed|token|(^|_)(pos|position|positional|cls|query|queries)(_|$)")
"""Names of embeddings that a user's own module holds as parameters."""
PARAMETRIZATIONS = "parametrizations"


@dataclass(frozen=True)
class Role:
    """What a parameter is. One output sums ``width_in`` x ``taps`` inputs.

    ``width_in`` and ``width_out`` are units or channels; ``taps`` is the number of positions of a kernel.
    """

    is_bias: bool
    is_norm: bool
    is_embedding: bool
    width_in: int
    width_out: int
    taps: int = 1


def role_of(model: nn.Module, name: str, value: Tensor) -> Role:
    """The role of a parameter by its name in the model.

    - A bias has the word bias in its own name: ``bias``, ``bias_ih_l0``, ``in_proj_bias``,
      ``relative_position_bias_table``.
    - A norm's parameter belongs to a norm of torch. Or it is a vector in a user's own module: one whose class is called
      a norm; or a module below the model that holds no matrix, if its name is in ``GAINS``. A vector has at most one
      dimension longer than 1, and is no ``weight`` of two dimensions. The magnitude of weight normalisation counts as a
      norm too.
    - An embedding belongs to ``nn.Embedding`` or ``nn.EmbeddingBag``: it looks up rows and sums nothing. Or a user's
      own module holds it, under a name that matches ``EMBEDDING``, such as ``pos_embed`` or ``cls``: it is added to the
      inputs or put before them, units last.
    """
    owner, leaf, part = _owner(model, name)
    is_bias = "bias" in leaf.split("_")
    is_magnitude = part == "original0" or (leaf.endswith("_g") and hasattr(owner, leaf[:-1] + "v"))
    is_vector = (value.ndim == 0 or value.numel() == max(value.shape)) and not (value.ndim == 2 and leaf == "weight")
    is_norm = isinstance(owner, NORMS) or is_magnitude or (is_vector and _is_own_norm(owner, leaf, model))
    is_named_embedding = _is_own(owner) and value.ndim > 0 and bool(EMBEDDING.search(leaf))
    is_embedding = not (is_bias or is_norm) and (isinstance(owner, TABLES) or is_named_embedding)
    if is_norm or is_bias or is_embedding or value.ndim < 2:
        return Role(
            is_bias, is_norm, is_embedding, 1, value.shape[-1] if is_embedding else _units(owner, value.numel())
        )
    return Role(False, False, False, *_widths(owner, value))


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str, str]:
    """The module of a parameter, the parameter's name there, and its part in a parametrization, if any."""
    path = name.split(".")
    if PARAMETRIZATIONS in path:
        at = path.index(PARAMETRIZATIONS)
        return model.get_submodule(".".join(path[:at])), path[at + 1], path[-1]
    return model.get_submodule(".".join(path[:-1])), path[-1], ""


def _is_own(owner: nn.Module) -> bool:
    return not type(owner).__module__.startswith("torch.")


def _is_own_norm(owner: nn.Module, leaf: str, model: nn.Module) -> bool:
    if not _is_own(owner):
        return False
    if "norm" in type(owner).__name__.lower():
        return True
    vectors_only = all(p.ndim == 0 or p.numel() == max(p.shape) for p in owner.parameters())
    return leaf in GAINS and owner is not model and vectors_only


def _widths(owner: nn.Module, value: Tensor) -> tuple[int, int, int]:
    """(width_in, width_out, taps) of a weight with at least two dimensions."""
    rest = math.prod(value.shape[2:])
    if isinstance(owner, _ConvTransposeNd):  # its weight is [in, out / groups, ...]
        return owner.in_channels // owner.groups, owner.out_channels, rest
    if isinstance(owner, _ConvNd):
        return owner.in_channels // owner.groups, owner.out_channels, rest
    if isinstance(owner, nn.Bilinear):
        return owner.in1_features * owner.in2_features, owner.out_features, 1
    return value.shape[1], _units(owner, value.shape[0]), rest


def _units(owner: nn.Module, rows: int) -> int:
    """The units of a weight or a bias with so many rows. Gates, or queries, keys and values, have rows each."""
    if isinstance(owner, nn.RNNBase | nn.RNNCellBase):
        return min(owner.hidden_size, rows)
    return min(owner.embed_dim, rows) if isinstance(owner, nn.MultiheadAttention) else rows
