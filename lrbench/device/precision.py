"""How float32 matrix products and convolutions are rounded."""

import torch

DTYPES = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""The type in which each precision computes."""


def use_tf32(wanted: bool) -> None:
    """Round the factors of float32 products to TF32 (10 bits of mantissa) on GPUs that can, or, unlike cuDNN's default, do not.

    Through ``fp32_precision`` alone: after it is set, reading the older ``allow_tf32`` raises. A CPU knows no TF32 and
    is not touched.
    """
    rounding = "tf32" if wanted else "ieee"
    torch.backends.cuda.matmul.fp32_precision = rounding
    torch.backends.cudnn.conv.fp32_precision = rounding  # type: ignore[attr-defined] # made when torch is imported
    torch.backends.cudnn.rnn.fp32_precision = rounding  # type: ignore[attr-defined] # as above


def no_tf32(device: torch.device) -> str | None:
    """Why a device cannot multiply in TF32, or None."""
    return (
        None
        if device.type == "cuda"
        else f"tf32 is a way in which NVIDIA's GPUs multiply: a {device.type} device has none"
    )
