// Many small matrix products at once: c[i] = a[i] b[i], each computed alike whatever the others are and however many.
//
// A population multiplies thousands of small matrices per step. Vendor libraries are tuned for large ones, and some of them use half the
// vector width of some processors. Here every product is cut into panels of two vectors of columns; a tile of ROWS rows by one panel is
// kept in registers while k runs. The order of summation over k is the plain one, so a result does not depend on the batch.

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

// to[k][n] = from[n][k], LANES by LANES: log2(LANES) perfect shuffles of the rows
template <class T> static inline void transpose(const T* from, int64_t from_step, T* to, int64_t to_step) {
  constexpr int L = LANES<T>;
  V<T> row[L], next[L];
  for (int i = 0; i < L; ++i) row[i] = load(from + i * from_step);
  for (int done = 1; done < L; done *= 2) {
    for (int i = 0; i < L / 2; ++i) interleave<T>(row[i], row[i + L / 2], next[2 * i], next[2 * i + 1], std::make_index_sequence<L>());
    std::copy(next, next + L, row);
  }
  for (int i = 0; i < L; ++i) store(to + i * to_step, row[i]);
}

// Copy b[K, width] to rows of whole vectors, the rest zero.
template <class T> static void pack(int64_t K, int64_t width, int64_t padded, Matrix<const T> b, T* to) {
  constexpr int64_t L = LANES<T>;
  if (width != padded) std::memset(to, 0, K * padded * sizeof(T));
  for (int64_t k = 0; k < K; k += L)
    for (int64_t n = 0; n < width; n += L) {
      const int64_t deep = std::min(L, K - k), wide = std::min(L, width - n);
      if (b.rows == 1 && deep == L && wide == L) transpose<T>(&b(k, n), b.columns, to + k * padded + n, padded);
      else
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

STABLE_TORCH_LIBRARY(lrbench, m) { m.def("matmul(Tensor a, Tensor b) -> Tensor"); }
STABLE_TORCH_LIBRARY_IMPL(lrbench, CPU, m) { m.impl("matmul", TORCH_BOX(&matmul)); }
