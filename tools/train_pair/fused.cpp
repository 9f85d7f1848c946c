// What PyTorch is slow at on a CPU in bfloat16, channels last: depthwise 3 x 3 convolutions, and
// batch norm with the ReLU that follows. Needs AVX-512 with bfloat16. All tensors are (N, H, W, C), contiguous; sums in float.
#include <torch/extension.h>
#include <ATen/Parallel.h>
#include <immintrin.h>
#include <cstdint>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

using torch::Tensor;
using bf16 = uint16_t;

// Sixteen channels at once; the mask says which of them are there.
using V = __m512;
using Mask = __mmask16;

static inline V load(const bf16* p, Mask m = 0xffff) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p)), 16));
}

static inline void store(bf16* p, V v, Mask m = 0xffff) {
  _mm256_mask_storeu_epi16(p, m, (__m256i)_mm512_cvtneps_pbh(v));
}

static inline Mask mask(int64_t left) { return left >= 16 ? 0xffff : (1 << left) - 1; }

static const bf16* in(const Tensor& t) { return (const bf16*)t.data_ptr<at::BFloat16>(); }
static bf16* out(Tensor& t) { return (bf16*)t.data_ptr<at::BFloat16>(); }

// x (N, H, W, C), w (9, C) float -> (N, ceil(H / stride), ceil(W / stride), C); padding 1.
Tensor depthwise(const Tensor& x, const Tensor& w, int64_t stride) {
  const int64_t N = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3);
  const int64_t h = (H - 1) / stride + 1, v = (W - 1) / stride + 1;
  Tensor y = torch::empty({N, h, v, C}, x.options());
  const float* K = w.data_ptr<float>();
  at::parallel_for(0, N, 1, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; n++)
      for (int64_t c = 0; c < C; c += 16) {
        const Mask m = mask(C - c);
        const bf16* X = in(x) + n * H * W * C + c;
        bf16* Y = out(y) + n * h * v * C + c;
        V k[9];
        for (int t = 0; t < 9; t++) k[t] = _mm512_maskz_loadu_ps(m, K + t * C + c);
        for (int64_t i = 0; i < h; i++)
          for (int64_t j = 0; j < v; j++) {
            V s = _mm512_setzero_ps();
            for (int t = 0; t < 9; t++) {
              const int64_t r = i * stride + t / 3 - 1, q = j * stride + t % 3 - 1;
              if (r >= 0 && r < H && q >= 0 && q < W)
                s = _mm512_fmadd_ps(k[t], load(X + (r * W + q) * C, m), s);
            }
            store(Y + (i * v + j) * C, s, m);
          }
      }
  });
  return y;
}

// Gradients of depthwise(): of x, and of w (9, C).
std::vector<Tensor> depthwise_back(const Tensor& g, const Tensor& x, const Tensor& w, int64_t stride) {
  const int64_t N = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3);
  const int64_t h = g.size(1), v = g.size(2);
  Tensor dx = torch::empty_like(x);
  Tensor parts = torch::empty({N, 9, C}, w.options());
  const float* K = w.data_ptr<float>();
  float* P = parts.data_ptr<float>();
  at::parallel_for(0, N, 1, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; n++)
      for (int64_t c = 0; c < C; c += 16) {
        const Mask m = mask(C - c);
        const bf16 *X = in(x) + n * H * W * C + c, *G = in(g) + n * h * v * C + c;
        bf16* D = out(dx) + n * H * W * C + c;
        V k[9], d[9];
        for (int t = 0; t < 9; t++) {
          k[t] = _mm512_maskz_loadu_ps(m, K + t * C + c);
          d[t] = _mm512_setzero_ps();
        }
        for (int64_t i = 0; i < h; i++)
          for (int64_t j = 0; j < v; j++) {
            const V e = load(G + (i * v + j) * C, m);
            for (int t = 0; t < 9; t++) {
              const int64_t r = i * stride + t / 3 - 1, q = j * stride + t % 3 - 1;
              if (r >= 0 && r < H && q >= 0 && q < W)
                d[t] = _mm512_fmadd_ps(e, load(X + (r * W + q) * C, m), d[t]);
            }
          }
        for (int t = 0; t < 9; t++) _mm512_mask_storeu_ps(P + (n * 9 + t) * C + c, m, d[t]);
        for (int64_t r = 0; r < H; r++)
          for (int64_t q = 0; q < W; q++) {
            V s = _mm512_setzero_ps();
            for (int t = 0; t < 9; t++) {
              int64_t i = r + 1 - t / 3, j = q + 1 - t % 3;
              if (stride == 2) {
                if ((i | j) & 1) continue;
                i >>= 1, j >>= 1;
              }
              if (i >= 0 && i < h && j >= 0 && j < v)
                s = _mm512_fmadd_ps(k[t], load(G + (i * v + j) * C, m), s);
            }
            store(D + (r * W + q) * C, s, m);
          }
      }
  });
  return {dx, parts.sum(0)};
}

// Channels are few: several rows are taken as one, so that vectors are full. How many.
static int64_t together(int64_t M, int64_t C) {
  int64_t k = 1;
  while (k < 16 && (k * C % 16 || k * C < 64) && M % (2 * k) == 0) k *= 2;
  return k;
}

// What follows a batch norm: nothing, a ReLU, or SiLU (z times its sigmoid).
enum { NONE, RELU, SILU };

static inline V sigmoid(V z) {  // 1 / (1 + 2 ** (-z / ln 2))
  const V one = _mm512_set1_ps(1.f);
  V t = _mm512_mul_ps(z, _mm512_set1_ps(-1.44269504f));
  t = _mm512_max_ps(_mm512_min_ps(t, _mm512_set1_ps(80.f)), _mm512_set1_ps(-80.f));
  const V whole = _mm512_roundscale_ps(t, 0), part = _mm512_sub_ps(t, whole);
  V p = _mm512_set1_ps(0.00133336f);  // Taylor series of 2 ** part, |part| <= 1/2
  for (float f : {0.00961813f, 0.05550411f, 0.24022651f, 0.69314718f, 1.f})
    p = _mm512_fmadd_ps(p, part, _mm512_set1_ps(f));
  return _mm512_div_ps(one, _mm512_add_ps(one, _mm512_scalef_ps(p, whole)));
}

template <int ACT> static inline V act(V z) {
  if (ACT == RELU) return _mm512_max_ps(z, _mm512_setzero_ps());
  if (ACT == SILU) return _mm512_mul_ps(z, sigmoid(z));
  return z;
}

template <int ACT> static inline V slope(V z, V g) {  // g times the derivative of act at z
  if (ACT == RELU) return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_GT_OQ), g);
  if (ACT == SILU) {
    const V one = _mm512_set1_ps(1.f), s = sigmoid(z);
    return _mm512_mul_ps(g, _mm512_mul_ps(s, _mm512_fmadd_ps(z, _mm512_sub_ps(one, s), one)));
  }
  return g;
}

// Numbers of channels, repeated for rows that are taken together.
static std::vector<float> spread(int64_t k, int64_t c, const std::function<double(int64_t)>& f) {
  std::vector<float> v(k * c);
  for (int64_t i = 0; i < c; i++)
    for (int64_t j = 0; j < k; j++) v[j * c + i] = float(f(i));
  return v;
}

static const int64_t ROWS = 64;

// Sums over rows of two numbers a channel, f(row, mask, s, t) adding to s and t: 2 C doubles.
template <class F> static std::vector<double> sums(int64_t M, int64_t C, int64_t c, F f) {
  const int64_t blocks = (M + ROWS - 1) / ROWS;
  std::vector<float> parts(2 * blocks * C);
  at::parallel_for(0, blocks, 4, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; b++)
      for (int64_t i = 0; i < C; i += 16) {
        const Mask m = mask(C - i);
        V s = _mm512_setzero_ps(), t = s;
        for (int64_t r = b * ROWS; r < std::min(M, (b + 1) * ROWS); r++) f(r * C + i, i, m, s, t);
        _mm512_mask_storeu_ps(parts.data() + 2 * b * C + i, m, s);
        _mm512_mask_storeu_ps(parts.data() + (2 * b + 1) * C + i, m, t);
      }
  });
  std::vector<double> total(2 * c);
  for (int64_t b = 0; b < blocks; b++)
    for (int64_t i = 0; i < C; i++) {
      total[i % c] += parts[2 * b * C + i];
      total[c + i % c] += parts[(2 * b + 1) * C + i];
    }
  return total;
}

template <int ACT>
static std::vector<Tensor> norm_act(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps) {
  const int64_t c = x.size(-1), k = together(x.numel() / c, c), C = k * c, M = x.numel() / C;
  Tensor y = torch::empty_like(x), mean = torch::empty_like(scale), var = torch::empty_like(scale);
  const bf16* X = in(x);
  bf16* Y = out(y);
  const auto total = sums(M, C, c, [&](int64_t at, int64_t, Mask m, V& s, V& t) {
    const V f = load(X + at, m);
    s = _mm512_add_ps(s, f);
    t = _mm512_fmadd_ps(f, f, t);
  });
  float *U = mean.data_ptr<float>(), *W = var.data_ptr<float>();
  const float *S = scale.data_ptr<float>(), *T = shift.data_ptr<float>();
  for (int64_t i = 0; i < c; i++) {
    const double n = double(M * k), u = total[i] / n;
    U[i] = float(u), W[i] = float(std::max(0.0, total[c + i] / n - u * u));
  }
  auto gain = [&](int64_t i) { return S[i] / std::sqrt(W[i] + eps); };
  const auto A = spread(k, c, gain), B = spread(k, c, [&](int64_t i) { return T[i] - U[i] * gain(i); });
  at::parallel_for(0, M, ROWS, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; r++)
      for (int64_t i = 0; i < C; i += 16) {
        const Mask m = mask(C - i);
        const V a = _mm512_maskz_loadu_ps(m, &A[i]), b = _mm512_maskz_loadu_ps(m, &B[i]);
        store(Y + r * C + i, act<ACT>(_mm512_fmadd_ps(load(X + r * C + i, m), a, b)), m);
      }
  });
  return {y, mean, var};
}

template <int ACT>
static std::vector<Tensor> norm_act_back(
    const Tensor& g, const Tensor& x, const Tensor& scale, const Tensor& shift, const Tensor& mean,
    const Tensor& var, double eps) {
  const int64_t c = x.size(-1), k = together(x.numel() / c, c), C = k * c, M = x.numel() / C;
  Tensor dx = torch::empty_like(x), dscale = torch::empty_like(scale), dshift = torch::empty_like(scale);
  const bf16 *X = in(x), *G = in(g);
  bf16* D = out(dx);
  const float *S = scale.data_ptr<float>(), *T = shift.data_ptr<float>();
  const float *U = mean.data_ptr<float>(), *W = var.data_ptr<float>();
  auto inv = [&](int64_t i) { return 1 / std::sqrt(W[i] + eps); };
  auto gain = [&](int64_t i) { return S[i] * inv(i); };
  const auto A = spread(k, c, gain), B = spread(k, c, [&](int64_t i) { return T[i] - U[i] * gain(i); });
  auto before = [&](int64_t at, int64_t i, Mask m, V f) {  // the gradient before the activation
    const V a = _mm512_maskz_loadu_ps(m, &A[i]), b = _mm512_maskz_loadu_ps(m, &B[i]);
    return slope<ACT>(_mm512_fmadd_ps(f, a, b), load(G + at, m));
  };
  const auto total = sums(M, C, c, [&](int64_t at, int64_t i, Mask m, V& s, V& t) {
    const V f = load(X + at, m), e = before(at, i, m, f);
    s = _mm512_add_ps(s, e);
    t = _mm512_fmadd_ps(e, f, t);
  });
  float *P = dscale.data_ptr<float>(), *Q = dshift.data_ptr<float>();
  for (int64_t i = 0; i < c; i++) {
    Q[i] = float(total[i]);
    P[i] = float((total[c + i] - U[i] * total[i]) * inv(i));
  }
  // dx = gain * (e - dshift / n - xhat * dscale / n) = gain * e + b * x + d
  const double n = double(M * k);
  auto slant = [&](int64_t i) { return -gain(i) * inv(i) * P[i] / n; };
  const auto E = spread(k, c, slant);
  const auto F = spread(k, c, [&](int64_t i) { return -gain(i) * Q[i] / n - slant(i) * U[i]; });
  at::parallel_for(0, M, ROWS, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; r++)
      for (int64_t i = 0; i < C; i += 16) {
        const Mask m = mask(C - i);
        const V f = load(X + r * C + i, m);
        const V d = _mm512_fmadd_ps(f, _mm512_maskz_loadu_ps(m, &E[i]), _mm512_maskz_loadu_ps(m, &F[i]));
        const V e = before(r * C + i, i, m, f);
        store(D + r * C + i, _mm512_fmadd_ps(e, _mm512_maskz_loadu_ps(m, &A[i]), d), m);
      }
  });
  return {dx, dscale, dshift};
}

// Batch norm of rows (M, C) by their own mean and variance, and what follows.
// Returns the result, the mean, and the variance (biased).
std::vector<Tensor> norm(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps, int64_t act) {
  return act == SILU   ? norm_act<SILU>(x, scale, shift, eps)
         : act == RELU ? norm_act<RELU>(x, scale, shift, eps)
                       : norm_act<NONE>(x, scale, shift, eps);
}

// Gradients of norm(): of x, scale and shift.
std::vector<Tensor> norm_back(
    const Tensor& g, const Tensor& x, const Tensor& scale, const Tensor& shift, const Tensor& mean,
    const Tensor& var, double eps, int64_t act) {
  return act == SILU   ? norm_act_back<SILU>(g, x, scale, shift, mean, var, eps)
         : act == RELU ? norm_act_back<RELU>(g, x, scale, shift, mean, var, eps)
                       : norm_act_back<NONE>(g, x, scale, shift, mean, var, eps);
}

// Channels of a and b (M, C) in turn: (M, 2 C); and the way back.
Tensor weave(const Tensor& a, const Tensor& b) {
  auto size = a.sizes().vec();
  const int64_t C = size.back(), M = a.numel() / C;
  size.back() = 2 * C;
  Tensor y = torch::empty(size, a.options());
  const bf16 *A = in(a), *B = in(b);
  uint32_t* Y = (uint32_t*)out(y);
  at::parallel_for(0, M * C, 65536, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) Y[i] = uint32_t(A[i]) | uint32_t(B[i]) << 16;
  });
  return y;
}

std::vector<Tensor> unweave(const Tensor& y) {
  auto size = y.sizes().vec();
  size.back() /= 2;
  Tensor a = torch::empty(size, y.options()), b = torch::empty(size, y.options());
  const uint32_t* Y = (const uint32_t*)in(y);
  bf16 *A = out(a), *B = out(b);
  at::parallel_for(0, a.numel(), 65536, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) {
      A[i] = bf16(Y[i]);
      B[i] = bf16(Y[i] >> 16);
    }
  });
  return {a, b};
}

// The two halves of the channels (M, 2 C), each contiguous; and the way back.
std::vector<Tensor> halve(const Tensor& y) {
  auto size = y.sizes().vec();
  const int64_t C = size.back() /= 2, M = y.numel() / (2 * C);
  Tensor a = torch::empty(size, y.options()), b = torch::empty(size, y.options());
  const bf16* Y = in(y);
  bf16 *A = out(a), *B = out(b);
  for (int64_t m = 0; m < M; m++) {
    std::memcpy(A + m * C, Y + 2 * m * C, 2 * C);
    std::memcpy(B + m * C, Y + (2 * m + 1) * C, 2 * C);
  }
  return {a, b};
}

Tensor join(const Tensor& a, const Tensor& b) {
  auto size = a.sizes().vec();
  const int64_t C = size.back(), M = a.numel() / C;
  size.back() = 2 * C;
  Tensor y = torch::empty(size, a.options());
  const bf16 *A = in(a), *B = in(b);
  bf16* Y = out(y);
  for (int64_t m = 0; m < M; m++) {
    std::memcpy(Y + 2 * m * C, A + m * C, 2 * C);
    std::memcpy(Y + (2 * m + 1) * C, B + m * C, 2 * C);
  }
  return y;
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("depthwise", &depthwise);
  m.def("depthwise_back", &depthwise_back);
  m.def("norm", &norm);
  m.def("norm_back", &norm_back);
  m.def("weave", &weave);
  m.def("unweave", &unweave);
  m.def("halve", &halve);
  m.def("join", &join);
}
