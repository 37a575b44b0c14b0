"""The kernels for many small products and convolutions: any shape and strides, each alike whatever the batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import profile

from lrbench.device import Compiled, kernels

pytestmark = pytest.mark.skipif(bool(kernels.missing()), reason=f"{kernels.missing()}")
SIDES = st.integers(1, 70)


def operands(n, m, k, columns, dtype, flips, seed=0):
    random = torch.Generator().manual_seed(seed)
    shapes = [(n, m, k), (n, k, columns)]
    made = []
    for shape, flip in zip(shapes, flips, strict=True):
        stored = (shape[0], shape[2], shape[1]) if flip else shape
        tensor = torch.randn(stored, dtype=dtype, generator=random)
        made.append(tensor.mT if flip else tensor)
    return made


@given(
    st.integers(1, 4),
    SIDES,
    SIDES,
    SIDES,
    st.sampled_from([torch.float32, torch.float64]),
    st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=200)
def test_it_is_the_product(n, m, k, columns, dtype, flips):
    a, b = operands(n, m, k, columns, dtype, flips)
    found, exact = torch.ops.lrbench.matmul(a, b), torch.bmm(a.double(), b.double())
    assert found.dtype == dtype
    assert found.is_contiguous()
    bound = (torch.finfo(dtype).eps * k) * torch.bmm(a.double().abs(), b.double().abs())
    assert ((found.double() - exact).abs() <= bound).all()


@given(SIDES, SIDES, SIDES, st.tuples(st.booleans(), st.booleans()))
@settings(max_examples=50)
def test_a_product_does_not_depend_on_the_batch_by_a_bit(m, k, columns, flips):
    a, b = operands(5, m, k, columns, torch.float32, flips)
    whole = torch.ops.lrbench.matmul(a, b)
    for i in range(5):
        assert torch.equal(torch.ops.lrbench.matmul(a[i : i + 1], b[i : i + 1])[0], whole[i])
    assert torch.equal(torch.ops.lrbench.matmul(a.flip(0), b.flip(0)), whole.flip(0))


def test_batches_that_are_views_of_larger_tensors():
    a, b = torch.randn(6, 9, 14)[::2, 1:, ::2], torch.randn(3, 20, 40)[:, 3:10, 5:38]
    torch.testing.assert_close(torch.ops.lrbench.matmul(a, b), torch.bmm(a, b))
    expanded = torch.randn(4, 5).expand(3, 4, 5)
    torch.testing.assert_close(torch.ops.lrbench.matmul(expanded, expanded.mT), torch.bmm(expanded, expanded.mT))


def test_an_infinity_or_a_nan_stays_in_its_row():
    a, b = operands(1, 5, 4, 37, torch.float32, (False, True))
    a[0, 2, 1] = torch.nan
    found = torch.ops.lrbench.matmul(a, b)[0]
    assert found[2].isnan().all()
    assert found[[0, 1, 3, 4]].isfinite().all()


def images_of(shape, dtype, layout, random):
    """Random numbers [images, channels, height, width], and how they lie in memory."""
    n, c, h, w = shape
    if layout == "sliced":
        return torch.randn(n + 1, c + 2, h + 1, w + 3, dtype=dtype, generator=random)[1:, 1 : c + 1, :h, 2 : w + 2]
    if layout == "expanded":
        return torch.randn(1, c, h, 1, dtype=dtype, generator=random).expand(shape)
    made = torch.randn(shape, dtype=dtype, generator=random)
    return made.contiguous(memory_format=torch.channels_last) if layout == "channels last" else made


LAYOUTS = st.sampled_from(["contiguous", "channels last", "sliced", "expanded"])


@given(
    st.integers(1, 40), st.integers(1, 3), st.integers(1, 4), st.integers(1, 20), st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)), st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 2), st.integers(0, 2)), LAYOUTS, LAYOUTS, st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
@settings(max_examples=300)
def test_it_is_the_convolution_and_its_gradients(
    images, groups, c, o, image, kernel, stride, padding, layout, layout_g, dtype
):
    """More images than a vector has lanes, and not a multiple of it, are what fills lanes a second time, and not all of them."""
    kernel = tuple(min(k, i + 2 * p) for k, i, p in zip(kernel, image, padding, strict=True))
    random = torch.Generator().manual_seed(0)
    x = images_of((images, groups * c, *image), dtype, layout, random)
    w = torch.randn(groups * o, c, *kernel, dtype=dtype, generator=random)
    how = (*stride, *padding, groups)
    out = torch.conv2d(x.double(), w.double(), stride=stride, padding=padding, groups=groups)
    g = images_of(out.shape, dtype, layout_g, random)
    none = (False, [0, 0], groups, [True, True, False])
    gx, gw, _ = torch.ops.aten.convolution_backward(
        g.double(), x.double(), w.double(), None, stride, padding, [1, 1], *none
    )
    for found, exact in (
        (torch.ops.lrbench.convolution(x, w, *how), out),
        (torch.ops.lrbench.convolution_input(g, w, *image, *how), gx),
        (torch.ops.lrbench.convolution_weight(g, x, *kernel, *how), gw),
    ):
        assert found.dtype == dtype
        assert found.is_contiguous()
        bound = 1e-12 if dtype == torch.float64 else 1e-4
        torch.testing.assert_close(found.double(), exact, rtol=bound, atol=bound)


def test_a_compiled_function_uses_them():
    def function(x, w, a):
        out = torch.conv2d(x, w, stride=2, padding=1, groups=3)
        gx, gw, _ = torch.ops.aten.convolution_backward(
            out, x, w, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 3, [True, True, False]
        )
        return out.relu(), gx.sum(), gw, torch.bmm(a, a.mT)

    arguments = (torch.randn(5, 6, 8, 8), torch.randn(12, 2, 3, 3), torch.randn(3, 4, 5))
    with profile() as events:
        found = Compiled(function, *arguments)(*arguments)
    for one, other in zip(found, function(*arguments), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    names = {event.key for event in events.key_averages()}
    assert {
        "lrbench::matmul",
        "lrbench::convolution",
        "lrbench::convolution_input",
        "lrbench::convolution_weight",
    } <= names


def test_without_a_compiler_it_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path))
    assert "there is no C++ compiler" in kernels.missing.__wrapped__()


def test_what_the_compiler_says_is_told(monkeypatch, tmp_path):
    broken = tmp_path / "broken.cpp"
    broken.write_text("this is not C++")
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(kernels, "SOURCE", broken)
    assert "the kernels could not be built" in kernels.missing.__wrapped__()
    assert not list(tmp_path.glob("*.so"))
