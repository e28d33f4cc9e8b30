// Weights of a client that are sums: what the round began with and outer products of its steps.

#pragma once

#include <algorithm>

#include "lanes.h"

namespace pfr {

constexpr int kMaxStack = 4;

// Coefficients over the basis (W_0, moments, gradients): a row per local step and one after them.
struct Path {
  const float* change;  // [K + 1, width], of W_k - W_0
  const float* moments;  // [count, width]
  int count, width;

  const float* step(int k) const { return change + k * width; }
  // Row 0 is the change over the round, row m + 1 the m-th moment after it.
  const float* after(int steps, int row) const {
    return row ? moments + (row - 1) * width : change + steps * width;
  }
};

// A matrix of one client as it was when the round began, and the outer products since.
struct Layer {
  const float* begin;  // [rows, width], W_0
  float* moments;  // [count], ``apart`` from each other; none if the client has never trained
  int count;
  int64_t apart;
  int rows, width;
  float *along_rows, *along_width;  // [K, rows] and [K, width]; each outer product is of one each
};

// Vectors are sums over the basis too: ``basis`` f[1 + count, n], gradients f[K, n].
inline void vectors_at(const Path& path, int k, int known, const float* basis, const float* gradients,
                int n, float* out) {
  const float* weight = path.step(k);
  std::copy(basis, basis + n, out);
  for (int j = 0; j <= path.count; ++j) {
    if (weight[j] != 0) add_scaled(out, weight[j], basis + j * n, n);
  }
  for (int i = 0; i < known; ++i) {
    add_scaled(out, weight[1 + path.count + i], gradients + i * n, n);
  }
}

inline void vectors_after(const Path& path, int steps, const float* basis, const float* gradients, int n,
                   float* out) {
  for (int row = 0; row <= path.count; ++row, out += n) {
    const float* weight = path.after(steps, row);
    std::fill(out, out + n, 0.0f);
    for (int j = 0; j <= path.count; ++j) add_scaled(out, weight[j], basis + j * n, n);
    for (int i = 0; i < steps; ++i) {
      add_scaled(out, weight[1 + path.count + i], gradients + i * n, n);
    }
  }
}

// out[width] += (W_k)^T x, by the listed rows. ``moved`` are the outer products' coefficients.
inline void product(const Layer& layer, const float* weight, int known, const std::vector<int>& rows,
             const float* x, float* out) {
  add_forward(layer.begin, layer.width, rows, x, 1 + weight[0], out);
  for (int m = 0; layer.moments && m < layer.count; ++m) {
    const float* moment = layer.moments + m * layer.apart;
    add_forward(moment, layer.width, rows, x, weight[1 + m], out);
  }
  for (int i = 0; i < known; ++i) {
    const float along = dot(layer.along_rows + i * layer.rows, x, layer.rows);
    const float past = weight[1 + layer.count + i] * along;
    add_scaled(out, past, layer.along_width + i * layer.width, layer.width);
  }
}

// out[rows] = W_k delta; only the listed rows are right.
inline void product_back(const Layer& layer, const float* weight, int known, const std::vector<int>& rows,
                  const float* delta, float* out) {
  std::fill(out, out + layer.rows, 0.0f);
  add_backward(layer.begin, layer.width, rows, delta, 1 + weight[0], out);
  for (int m = 0; layer.moments && m < layer.count; ++m) {
    const float* moment = layer.moments + m * layer.apart;
    add_backward(moment, layer.width, rows, delta, weight[1 + m], out);
  }
  for (int i = 0; i < known; ++i) {
    const float along = dot(layer.along_width + i * layer.width, delta, layer.width);
    const float past = weight[1 + layer.count + i] * along;
    add_scaled(out, past, layer.along_rows + i * layer.rows, layer.rows);
  }
}

// One output of ``combine``: what weighs what in it, and where it goes.
struct Target {
  float of_begin, of_own[kMaxStack];
  const float* of_gradients;
  float* out;
};

// ``combine`` for N lanes of one row; ``factors`` [K] are those of the outer products' other side.
template <int N>
void combine_lanes(const Target& target, const float* factors, const float* const* own, int matrices,
                   const float* begin, const float* along, int width, int steps, float* out,
                   Lanes* spoilt) {
  Lanes total[N];
  for (int l = 0; l < N; ++l) total[l] = target.of_begin * load(begin + l * kLanes);
  for (int m = 0; m < matrices; ++m) {
    for (int l = 0; l < N; ++l) total[l] += target.of_own[m] * load(own[m] + l * kLanes);
  }
  for (int i = 0; i < steps; ++i) {
    for (int l = 0; l < N; ++l) total[l] += factors[i] * load(along + i * width + l * kLanes);
  }
  for (int l = 0; l < N; ++l) {
    store(out + l * kLanes, total[l]);
    *spoilt += total[l] * 0.0f;
  }
}

// Every target [rows, width] = begin, own stack [own, rows, width] and outer products, weighed. A
// target may lie where the own stack does. False if something is not finite.
inline bool combine(const Layer& layer, const float* begin, const float* stack, int own, int steps,
             const std::vector<Target>& targets) {
  constexpr int kWide = 8;
  Lanes spoilt = {};
  std::vector<float> factors(targets.size() * steps), old(own * layer.width);
  const float* at[kMaxStack] = {};
  for (int row = 0; row < layer.rows; ++row) {
    const int64_t first = int64_t{row} * layer.width;
    for (int m = 0; m < own; ++m) {  // before a target takes its place
      const float* from = stack + m * layer.apart + first;
      std::copy(from, from + layer.width, old.data() + m * layer.width);
    }
    for (const Target& target : targets) {
      for (int i = 0; i < steps; ++i) {
        factors[i] = target.of_gradients[i] * layer.along_rows[i * layer.rows + row];
      }
      for (int c = 0; c < layer.width;) {
        for (int m = 0; m < own; ++m) at[m] = old.data() + m * layer.width + c;
        const bool many = c + kWide * kLanes <= layer.width;
        const auto some = many ? combine_lanes<kWide> : combine_lanes<1>;
        some(target, factors.data(), at, own, begin + first + c, layer.along_width + c, layer.width,
             steps, target.out + first + c, &spoilt);
        c += many ? kWide * kLanes : kLanes;
      }
    }
  }
  return sum(spoilt) == 0;
}

// What the matrices of a stack become: first the change of W_0 (of a private one: D), then moments.
inline std::vector<Target> renewed(const Path& path, int steps, bool is_private, float* stack,
                            int64_t apart) {
  std::vector<Target> targets;
  for (int row = is_private ? 0 : 1; row <= path.count; ++row) {
    const float* weight = path.after(steps, row);
    Target target = {weight[0], {}, weight + 1 + path.count, stack + targets.size() * apart};
    int own = 0;
    if (is_private) target.of_own[own++] = weight[0] + (row == 0);
    for (int m = 1; m <= path.count; ++m) target.of_own[own++] = weight[m];
    targets.push_back(target);
  }
  return targets;
}

}  // namespace pfr
