// Products with rows of a matrix, layer norm and tanh, eight numbers at a time.

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pfr {

constexpr int kLanes = 8;  // H and C are multiples of it
constexpr float kNormEpsilon = 1e-5f;  // models/layers.py

typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Lanes load(const float* at) { return *reinterpret_cast<const Lanes*>(at); }
inline void store(float* at, Lanes value) { *reinterpret_cast<Lanes*>(at) = value; }

inline float sum(Lanes v) {
  return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

inline float dot(const float* a, const float* b, int n) {
  Lanes total = {};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) total += load(a + i) * load(b + i);
  float rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  return sum(total) + rest;
}

inline void add_scaled(float* __restrict out, float factor, const float* __restrict a, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] += factor * a[i];
}

// out[m] += factor * sum over the listed rows of x[row] * matrix[row, m].
inline void add_forward(const float* matrix, int width, const std::vector<int>& rows, const float* x,
                 float factor, float* out) {
  constexpr int kRegisters = 8;
  int column = 0;
  for (; column + kRegisters * kLanes <= width; column += kRegisters * kLanes) {
    Lanes total[kRegisters] = {};
    for (int row : rows) {
      const float* at = matrix + int64_t{row} * width + column;
      for (int r = 0; r < kRegisters; ++r) total[r] += x[row] * load(at + r * kLanes);
    }
    for (int r = 0; r < kRegisters; ++r) {
      float* at = out + column + r * kLanes;
      store(at, load(at) + factor * total[r]);
    }
  }
  for (; column < width; column += kLanes) {
    Lanes total = {};
    for (int row : rows) total += x[row] * load(matrix + int64_t{row} * width + column);
    store(out + column, load(out + column) + factor * total);
  }
}

// The products of N rows, one after the other from ``first`` or as listed, with x f[width].
template <int N>
void dots(const float* const* rows, const float* x, int width, float* out) {
  Lanes total[N] = {};
  for (int i = 0; i < width; i += kLanes) {
    for (int r = 0; r < N; ++r) total[r] += load(rows[r] + i) * load(x + i);
  }
  for (int r = 0; r < N; ++r) out[r] = sum(total[r]);
}

// out[row] += factor * (matrix[row] . delta) for the listed rows.
inline void add_backward(const float* matrix, int width, const std::vector<int>& rows,
                  const float* delta, float factor, float* out) {
  constexpr int kRows = 8;
  size_t i = 0;
  float found[kRows];
  const float* at[kRows];
  for (; i + kRows <= rows.size(); i += kRows) {
    for (int r = 0; r < kRows; ++r) at[r] = matrix + int64_t{rows[i + r]} * width;
    dots<kRows>(at, delta, width, found);
    for (int r = 0; r < kRows; ++r) out[rows[i + r]] += factor * found[r];
  }
  for (; i < rows.size(); ++i) {
    out[rows[i]] += factor * dot(matrix + int64_t{rows[i]} * width, delta, width);
  }
}

// tanh by a ratio of polynomials, that of XLA and Eigen.
inline Lanes tanh_of(Lanes x) {
  const Lanes limit = Lanes{} + 7.90531110763549805f;
  x = x > limit ? limit : x;
  x = x < -limit ? -limit : x;
  const Lanes s = x * x;
  Lanes p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  Lanes q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return x * p / q;
}

// Layer norm and tanh of z f[n]. ``normed`` keeps what the way back needs; returns 1 / deviation.
inline float norm_tanh(const float* z, const float* scale, const float* shift, int n, float* normed,
                float* out) {
  Lanes total = {}, squares = {};
  for (int i = 0; i < n; i += kLanes) total += load(z + i);
  const float mean = sum(total) / n;
  for (int i = 0; i < n; i += kLanes) {
    const Lanes centred = load(z + i) - mean;
    squares += centred * centred;
  }
  const float inverse = 1 / std::sqrt(sum(squares) / n + kNormEpsilon);
  for (int i = 0; i < n; i += kLanes) {
    const Lanes value = (load(z + i) - mean) * inverse;
    store(normed + i, value);
    store(out + i, tanh_of(value * load(scale + i) + load(shift + i)));
  }
  return inverse;
}

// From the gradient at the output of ``norm_tanh`` to those of its scale, shift and input.
inline void norm_tanh_back(const float* gradient, const float* scale, const float* normed,
                    const float* out, float inverse, int n, float* of_scale, float* of_shift,
                    float* of_input) {
  Lanes total = {}, along = {};
  for (int i = 0; i < n; i += kLanes) {
    const Lanes y = load(out + i), value = load(normed + i);
    const Lanes before = load(gradient + i) * (1 - y * y);
    store(of_shift + i, before);
    store(of_scale + i, before * value);
    const Lanes scaled = before * load(scale + i);
    store(of_input + i, scaled);
    total += scaled;
    along += scaled * value;
  }
  const float mean = sum(total) / n, slope = sum(along) / n;
  for (int i = 0; i < n; i += kLanes) {
    store(of_input + i, (load(of_input + i) - mean - load(normed + i) * slope) * inverse);
  }
}

}  // namespace pfr
