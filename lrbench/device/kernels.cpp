// Many small matrix products and convolutions at once, each computed alike whatever the others are and however many.
//
// A population multiplies thousands of small matrices per step. Vendor libraries are tuned for large ones, and some of them use half the
// vector width of some processors. Here every product is cut into panels of two vectors of columns; a tile of ROWS rows by one panel is
// kept in registers while k runs. The order of summation over k is the plain one, so a result does not depend on the batch. Convolutions
// hold one image in each lane of a vector, and are computed directly.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 12;  // 24 of 32 registers hold a tile
#elif defined(__AVX__)
constexpr int BYTES = 32, ROWS = 6;  // 12 of 16
#else
constexpr int BYTES = 16, ROWS = 8;  // 16 of 32
#endif

template <class T> struct Vector { typedef T type __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias)); };
template <class T> using V = typename Vector<T>::type;
template <class T> constexpr int64_t LANES = BYTES / sizeof(T);

template <class T> static inline V<T> load(const T* from) { return *reinterpret_cast<const V<T>*>(from); }
template <class T> static inline void store(T* to, V<T> value) { *reinterpret_cast<V<T>*>(to) = value; }

// A matrix anywhere in memory: element (row, column) at p[row * rows + column * columns].
template <class T> struct Matrix {
  T* p;
  int64_t rows, columns;
  T& operator()(int64_t row, int64_t column) const { return p[row * rows + column * columns]; }
};

// c[R, NV vectors] = a[R, K] b[K, NV vectors]
template <class T, int NV, int R> static inline void tile(int64_t K, Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
  V<T> sum[R][NV] = {};
  for (int64_t k = 0; k < K; ++k) {
    V<T> row[NV];
    for (int v = 0; v < NV; ++v) row[v] = load(&b(k, v * LANES<T>));
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) sum[r][v] += a(r, k) * row[v];
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < NV; ++v) store(&c(r, v * LANES<T>), sum[r][v]);
}

template <class T, int NV, int R = ROWS> static inline void tile_of(int64_t rows, int64_t K, Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
  if (rows == R) tile<T, NV, R>(K, a, b, c);
  else if constexpr (R > 1) tile_of<T, NV, R - 1>(rows, K, a, b, c);
}

// c[M, NV vectors] = a[M, K] b[K, NV vectors], in tiles of nearly equal height
template <class T, int NV> static void panel(int64_t M, int64_t K, Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
  const int64_t tiles = (M + ROWS - 1) / ROWS;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t from = M * i / tiles, to = M * (i + 1) / tiles;
    tile_of<T, NV>(to - from, K, {&a(from, 0), a.rows, a.columns}, b, {&c(from, 0), c.rows, c.columns});
  }
}

// The even and the odd half of two vectors' elements, taken in turn: a0 b0 a1 b1 ..., and the same from the middle.
template <class T, size_t... I> static inline void interleave(V<T> a, V<T> b, V<T>& low, V<T>& high, std::index_sequence<I...>) {
  constexpr int L = sizeof...(I);
#if defined(__clang__)
  low = __builtin_shufflevector(a, b, (I / 2 + I % 2 * L)...);
  high = __builtin_shufflevector(a, b, (I / 2 + I % 2 * L + L / 2)...);
#else
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Index __attribute__((vector_size(BYTES)));
  low = __builtin_shuffle(a, b, Index{(I / 2 + I % 2 * L)...});
  high = __builtin_shuffle(a, b, Index{(I / 2 + I % 2 * L + L / 2)...});
#endif
}

// Transpose LANES vectors: log2(LANES) perfect shuffles of them.
template <class T> static inline void transpose(V<T>* row) {
  constexpr int L = LANES<T>;
  V<T> next[L];
  for (int done = 1; done < L; done *= 2) {
    for (int i = 0; i < L / 2; ++i) interleave<T>(row[i], row[i + L / 2], next[2 * i], next[2 * i + 1], std::make_index_sequence<L>());
    std::copy(next, next + L, row);
  }
}

// Copy b[K, width] to rows of whole vectors, the rest zero.
template <class T> static void pack(int64_t K, int64_t width, int64_t padded, Matrix<const T> b, T* to) {
  constexpr int64_t L = LANES<T>;
  if (width != padded) std::memset(to, 0, K * padded * sizeof(T));
  for (int64_t k = 0; k < K; k += L)
    for (int64_t n = 0; n < width; n += L) {
      const int64_t deep = std::min(L, K - k), wide = std::min(L, width - n);
      if (b.rows == 1 && deep == L && wide == L) {
        V<T> row[L];
        for (int j = 0; j < L; ++j) row[j] = load(&b(k, n + j));
        transpose<T>(row);
        for (int i = 0; i < L; ++i) store(to + (k + i) * padded + n, row[i]);
      } else
        for (int64_t i = 0; i < deep; ++i)
          for (int64_t j = 0; j < wide; ++j) to[(k + i) * padded + n + j] = b(k + i, n + j);
    }
}

template <class T> static void product(int64_t M, int64_t N, int64_t K, Matrix<const T> a, Matrix<const T> b, T* c, T* packed, T* edge) {
  constexpr int64_t L = LANES<T>, W = 2 * L;
  for (int64_t n = 0; n < N; n += W) {
    const int64_t width = std::min(W, N - n), padded = width <= L ? L : W;
    Matrix<const T> columns = {&b(0, n), b.rows, b.columns};
    if (b.columns != 1 || width != padded) {
      pack<T>(K, width, padded, columns, packed);
      columns = {packed, padded, 1};
    }
    const Matrix<T> to = width == padded ? Matrix<T>{c + n, N, 1} : Matrix<T>{edge, padded, 1};
    if (padded == L) panel<T, 1>(M, K, a, columns, to);
    else panel<T, 2>(M, K, a, columns, to);
    if (to.p == edge)
      for (int64_t m = 0; m < M; ++m) std::memcpy(c + m * N + n, edge + m * padded, width * sizeof(T));
  }
}

using torch::stable::Tensor;

template <class T> static void products(const Tensor& a, const Tensor& b, Tensor& c) {
  const int64_t M = a.size(1), K = a.size(2), N = b.size(2);
  std::vector<T> packed(K * 2 * LANES<T>), edge(M * 2 * LANES<T>);
  const T *pa = static_cast<const T*>(a.data_ptr()), *pb = static_cast<const T*>(b.data_ptr());
  T* pc = static_cast<T*>(c.data_ptr());
  for (int64_t i = 0; i < a.size(0); ++i)
    product<T>(M, N, K, {pa + i * a.stride(0), a.stride(1), a.stride(2)}, {pb + i * b.stride(0), b.stride(1), b.stride(2)}, pc + i * M * N,
               packed.data(), edge.data());
}

// a [n, M, K], b [n, K, N], both float32 or both float64, with any strides -> [n, M, N], contiguous
Tensor matmul(Tensor a, Tensor b) {
  Tensor c = torch::stable::new_empty(a, {a.size(0), a.size(1), b.size(2)});
  if (a.scalar_type() == torch::headeronly::ScalarType::Double) products<double>(a, b, c);
  else products<float>(a, b, c);
  return c;
}

// A convolution of G groups: x [B, G C, H, W], w [G O, C, KH, KW], out [B, G O, OH, OW], computed for LANES images at once, one to a lane.
// A group's images stand as x [C, H + 2 PH, W + 2 PW, LANES] with a border of zeros, its outputs as [O, L, LANES] of L = OH OW places, so
// that number k of the K = C KH KW of the patch at place l is the vector x[start[l] + offset[k]]: no patch is ever copied.
struct Convolution {
  int64_t B, G, C, H, W, O, KH, KW, SH, SW, PH, PW, OH, OW;
  int64_t HP = H + 2 * PH, WP = W + 2 * PW, K = C * KH * KW, L = OH * OW;
  std::vector<int64_t> start, offset;

  void prepare(int64_t lanes) {
    for (int64_t h = 0; h < OH; ++h)
      for (int64_t w = 0; w < OW; ++w) start.push_back((h * SH * WP + w * SW) * lanes);
    for (int64_t c = 0; c < C; ++c)
      for (int64_t h = 0; h < KH; ++h)
        for (int64_t w = 0; w < KW; ++w) offset.push_back(((c * HP + h) * WP + w) * lanes);
  }
};

// Move the images b, b + 1, ... of one channel, n numbers each, between memory and lanes; place(i) is the vector of number i.
template <class T, bool IN, class Place> static inline void lanes(int64_t n, int64_t images, T* memory, int64_t b, int64_t step, T* room, Place place) {
  constexpr int64_t L = LANES<T>;
  for (int64_t i = 0; i < n; i += L) {
    const int64_t wide = std::min(L, n - i);
    if (wide == L && step == 1) {
      V<T> row[L] = {};
      for (int j = 0; j < (IN ? images : L); ++j) row[j] = load(IN ? memory + j * b + i : room + place(i + j));
      transpose<T>(row);
      for (int j = 0; j < (IN ? L : images); ++j) store(IN ? room + place(i + j) : memory + j * b + i, row[j]);
    } else
      for (int64_t k = i; k < i + wide; ++k)
        for (int64_t j = 0; j < images; ++j) {
          T &outside = memory[j * b + k * step], &inside = room[place(k) + j];
          IN ? inside = outside : outside = inside;
        }
  }
}

// A tensor of images anywhere in memory, and the ways of its groups into lanes and back.
template <class T, bool IN> struct Images {
  T* p;
  int64_t b, c, h, w, channels, height, width;
  Images(const Tensor& t, int64_t groups)
      : p(static_cast<T*>(const_cast<void*>(static_cast<const void*>(t.data_ptr())))), b(t.stride(0)), c(t.stride(1)), h(t.stride(2)), w(t.stride(3)),
        channels(t.size(1) / groups), height(t.size(2)), width(t.size(3)) {}

  void move(int64_t first, int64_t images, int64_t group, T* room, int64_t border_h, int64_t border_w) const {
    const int64_t across = width + 2 * border_w, down = height + 2 * border_h;
    const bool rows_follow = h == width * w;
    for (int64_t i = 0; i < channels; ++i) {
      T* from = p + first * b + (group * channels + i) * c;
      const auto place = [&](int64_t k) { return ((i * down + border_h + k / width) * across + border_w + k % width) * LANES<T>; };
      if (rows_follow) lanes<T, IN>(height * width, images, from, b, w, room, place);
      else
        for (int64_t y = 0; y < height; ++y) lanes<T, IN>(width, images, from + y * h, b, w, room, [&](int64_t k) { return place(y * width + k); });
    }
  }
};

// Call act.template operator()<R>() with R = n, 1 <= n <= MOST.
template <int MOST, class Act> static inline void with_rows(int64_t n, Act act) {
  if (n == MOST) act.template operator()<MOST>();
  else if constexpr (MOST > 1) with_rows<MOST - 1>(n, act);
}

// Cut [0, n) into nearly equal parts of at most MOST; act(from, integral constant of how many).
template <int MOST, class Act> static inline void blocks(int64_t n, Act act) {
  const int64_t parts = (n + MOST - 1) / MOST;
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t from = n * i / parts, to = n * (i + 1) / parts;
    with_rows<MOST>(to - from, [&]<int R>() { act(from, std::integral_constant<int, R>()); });
  }
}

// out[o, l] = sum_k w[o, k] x[start[l] + offset[k]], two places and ROWS outputs at a time
template <class T> static void convolve(const Convolution& s, const T* w, const T* x, T* out) {
  blocks<ROWS>(s.O, [&](int64_t o, auto rows) {
    blocks<2>(s.L, [&](int64_t l, auto places) {
      constexpr int R = decltype(rows)::value, P = decltype(places)::value;
      V<T> sum[R][P] = {};
      for (int64_t k = 0; k < s.K; ++k) {
        V<T> at[P];
        for (int v = 0; v < P; ++v) at[v] = load(x + s.start[l + v] + s.offset[k]);
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < P; ++v) sum[r][v] += w[(o + r) * s.K + k] * at[v];
      }
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < P; ++v) store(out + ((o + r) * s.L + l + v) * LANES<T>, sum[r][v]);
    });
  });
}

// x[start[l] + offset[k]] += sum_o w[o, k] g[o, l]
template <class T> static void input_gradient(const Convolution& s, const T* w, const T* g, T* x) {
  blocks<ROWS>(s.K, [&](int64_t k, auto rows) {
    blocks<2>(s.L, [&](int64_t l, auto places) {
      constexpr int R = decltype(rows)::value, P = decltype(places)::value;
      V<T> sum[R][P] = {};
      for (int64_t o = 0; o < s.O; ++o) {
        V<T> at[P];
        for (int v = 0; v < P; ++v) at[v] = load(g + (o * s.L + l + v) * LANES<T>);
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < P; ++v) sum[r][v] += w[o * s.K + k + r] * at[v];
      }
      for (int v = 0; v < P; ++v)
        for (int r = 0; r < R; ++r) {
          T* to = x + s.start[l + v] + s.offset[k + r];
          store(to, load(to) + sum[r][v]);
        }
    });
  });
}

// w[o, k] += sum_l sum_lanes g[o, l] x[start[l] + offset[k]]
template <class T> static void weight_gradient(const Convolution& s, const T* g, const T* x, T* w) {
  constexpr int OUT = 4, IN = ROWS / 2;
  blocks<OUT>(s.O, [&](int64_t o, auto rows) {
    blocks<IN>(s.K, [&](int64_t k, auto columns) {
      constexpr int R = decltype(rows)::value, C = decltype(columns)::value;
      V<T> sum[R][C] = {};
      for (int64_t l = 0; l < s.L; ++l) {
        V<T> at[C];
        for (int c = 0; c < C; ++c) at[c] = load(x + s.start[l] + s.offset[k + c]);
        for (int r = 0; r < R; ++r) {
          const V<T> grad = load(g + ((o + r) * s.L + l) * LANES<T>);
          for (int c = 0; c < C; ++c) sum[r][c] += grad * at[c];
        }
      }
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) {
          T total = 0;
          for (int i = 0; i < LANES<T>; ++i) total += sum[r][c][i];
          w[(o + r) * s.K + k + c] += total;
        }
    });
  });
}

// Visit every group, and in it the images, as many at once as there are lanes.
template <class T, class Act> static void each(Convolution& s, Act act) {
  s.prepare(LANES<T>);
  for (int64_t g = 0; g < s.G; ++g)
    for (int64_t b = 0; b < s.B; b += LANES<T>) act(g, b, std::min(LANES<T>, s.B - b));
}

template <class T> static void convolution_of(Convolution s, const Tensor& x_, const Tensor& w, Tensor& out_) {
  const Images<T, true> x(x_, s.G);
  const Images<T, false> out(out_, s.G);
  std::vector<T> inside(s.C * s.HP * s.WP * LANES<T>), found(s.O * s.L * LANES<T>);
  each<T>(s, [&](int64_t g, int64_t b, int64_t images) {
    x.move(b, images, g, inside.data(), s.PH, s.PW);
    convolve<T>(s, static_cast<const T*>(w.data_ptr()) + g * s.O * s.K, inside.data(), found.data());
    out.move(b, images, g, found.data(), 0, 0);
  });
}

template <class T> static void weight_gradient_of(Convolution s, const Tensor& g_, const Tensor& x_, Tensor& out) {
  const Images<T, true> x(x_, s.G), grad(g_, s.G);
  T* w = static_cast<T*>(out.data_ptr());
  std::memset(w, 0, s.G * s.O * s.K * sizeof(T));
  std::vector<T> inside(s.C * s.HP * s.WP * LANES<T>), grads(s.O * s.L * LANES<T>);
  each<T>(s, [&](int64_t g, int64_t b, int64_t images) {
    if (images < LANES<T>) std::fill(grads.begin(), grads.end(), T(0)), std::fill(inside.begin(), inside.end(), T(0));
    x.move(b, images, g, inside.data(), s.PH, s.PW);
    grad.move(b, images, g, grads.data(), 0, 0);
    weight_gradient<T>(s, grads.data(), inside.data(), w + g * s.O * s.K);
  });
}

template <class T> static void input_gradient_of(Convolution s, const Tensor& g_, const Tensor& w, Tensor& out_) {
  const Images<T, true> grad(g_, s.G);
  const Images<T, false> out(out_, s.G);
  std::vector<T> inside(s.C * s.HP * s.WP * LANES<T>), grads(s.O * s.L * LANES<T>);
  each<T>(s, [&](int64_t g, int64_t b, int64_t images) {
    grad.move(b, images, g, grads.data(), 0, 0);
    std::fill(inside.begin(), inside.end(), T(0));
    input_gradient<T>(s, static_cast<const T*>(w.data_ptr()) + g * s.O * s.K, grads.data(), inside.data());
    out.move(b, images, g, inside.data(), s.PH, s.PW);
  });
}

static bool is_double(const Tensor& t) { return t.scalar_type() == torch::headeronly::ScalarType::Double; }

// x with any strides, w contiguous, both float32 or both float64 -> contiguous
Tensor convolution(Tensor x, Tensor w, int64_t sh, int64_t sw, int64_t ph, int64_t pw, int64_t groups) {
  const int64_t H = x.size(2), W = x.size(3), KH = w.size(2), KW = w.size(3);
  const Convolution s{x.size(0), groups, w.size(1), H, W, w.size(0) / groups, KH, KW, sh, sw, ph, pw, (H + 2 * ph - KH) / sh + 1, (W + 2 * pw - KW) / sw + 1};
  Tensor out = torch::stable::new_empty(x, {s.B, w.size(0), s.OH, s.OW});
  if (is_double(x)) convolution_of<double>(s, x, w, out);
  else convolution_of<float>(s, x, w, out);
  return out;
}

// g [B, G O, OH, OW] and x with any strides -> [G O, C, KH, KW], contiguous
Tensor convolution_weight(Tensor g, Tensor x, int64_t kh, int64_t kw, int64_t sh, int64_t sw, int64_t ph, int64_t pw, int64_t groups) {
  const Convolution s{x.size(0), groups, x.size(1) / groups, x.size(2), x.size(3), g.size(1) / groups, kh, kw, sh, sw, ph, pw, g.size(2), g.size(3)};
  Tensor out = torch::stable::new_empty(g, {g.size(1), s.C, kh, kw});
  if (is_double(g)) weight_gradient_of<double>(s, g, x, out);
  else weight_gradient_of<float>(s, g, x, out);
  return out;
}

// g with any strides, w contiguous -> [B, G C, height, width], contiguous
Tensor convolution_input(Tensor g, Tensor w, int64_t height, int64_t width, int64_t sh, int64_t sw, int64_t ph, int64_t pw, int64_t groups) {
  const Convolution s{g.size(0), groups, w.size(1), height, width, w.size(0) / groups, w.size(2), w.size(3), sh, sw, ph, pw, g.size(2), g.size(3)};
  Tensor out = torch::stable::new_empty(g, {s.B, groups * s.C, height, width});
  if (is_double(g)) input_gradient_of<double>(s, g, w, out);
  else input_gradient_of<float>(s, g, w, out);
  return out;
}

STABLE_TORCH_LIBRARY(lrbench, m) {
  m.def("matmul(Tensor a, Tensor b) -> Tensor");
  m.def("convolution(Tensor x, Tensor w, int sh, int sw, int ph, int pw, int groups) -> Tensor");
  m.def("convolution_weight(Tensor g, Tensor x, int kh, int kw, int sh, int sw, int ph, int pw, int groups) -> Tensor");
  m.def("convolution_input(Tensor g, Tensor w, int height, int width, int sh, int sw, int ph, int pw, int groups) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(lrbench, CPU, m) {
  m.impl("matmul", TORCH_BOX(&matmul));
  m.impl("convolution", TORCH_BOX(&convolution));
  m.impl("convolution_weight", TORCH_BOX(&convolution_weight));
  m.impl("convolution_input", TORCH_BOX(&convolution_input));
}
