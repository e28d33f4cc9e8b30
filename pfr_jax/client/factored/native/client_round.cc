// A round of clients of the factored engine: all local steps of every member, in one call per block.
//
// The same mathematics as client.py and step.py beside this folder, for an autoencoder with two
// hidden layers on each side, squared error and plain float32. Weights are sums over a basis,
// (W_0, S moments, K gradients), whose coefficients JAX computes (coefficients.py); vectors here
// too, so that no optimizer is written again. A client is computed by itself, and its numbers stay
// in the core's own cache from the first step to the last.
//
// Legend: B clients of the block, Nb of the bucket, G members, L item rows of a client, I items,
// H and C the hidden sizes, K local steps, P and S moments carried of the private and shared part.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int kLanes = 8;  // H and C are multiples of it
constexpr int kMaxStack = 4;
constexpr float kNormEpsilon = 1e-5f;  // models/layers.py

typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

Lanes load(const float* at) { return *reinterpret_cast<const Lanes*>(at); }
void store(float* at, Lanes value) { *reinterpret_cast<Lanes*>(at) = value; }

float sum(Lanes v) {
  return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

float dot(const float* a, const float* b, int n) {
  Lanes total = {};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) total += load(a + i) * load(b + i);
  float rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  return sum(total) + rest;
}

void add_scaled(float* __restrict out, float factor, const float* __restrict a, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] += factor * a[i];
}

// out[m] += factor * sum over the listed rows of x[row] * matrix[row, m].
void add_forward(const float* matrix, int width, const std::vector<int>& rows, const float* x,
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
void add_backward(const float* matrix, int width, const std::vector<int>& rows,
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
Lanes tanh_of(Lanes x) {
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
float norm_tanh(const float* z, const float* scale, const float* shift, int n, float* normed,
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
void norm_tanh_back(const float* gradient, const float* scale, const float* normed,
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
void vectors_at(const Path& path, int k, int known, const float* basis, const float* gradients,
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

void vectors_after(const Path& path, int steps, const float* basis, const float* gradients, int n,
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
void product(const Layer& layer, const float* weight, int known, const std::vector<int>& rows,
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
void product_back(const Layer& layer, const float* weight, int known, const std::vector<int>& rows,
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
bool combine(const Layer& layer, const float* begin, const float* stack, int own, int steps,
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

// What all clients of a call have in common.
struct Block {
  int members, items, slots, rows, wide, code, steps;  // G, I, Nb, L, H, C, K
  float clip, usual;
  Path own, shared;  // of the private and the shared part
  const float *encoder, *decoder, *table;  // [G, H, C], [G, C, H], [I, H, G]
  std::vector<int> wide_rows, code_rows;  // 0, 1, ...

  int own_vectors() const { return 4 * wide + 3 * code + 1; }
  int shared_vectors() const { return 3 * wide + rows; }
};

// One member of one client: what it reads, and where it writes.
struct Member {
  const float *targets, *masks, *projection, *own_basis, *shared_basis;
  float squared_input;
  int rows;  // that are no padding
  const float* item_rows;  // [rows, H], of the server
  const float* start;  // [H, C], of the encoder's matrix
  float *encoder_stack, *decoder_moments, *row_moments;  // none if it has never trained
  float *own_after, *shared_after, *inputs, *deltas, *loss;
  // Kept until all members are done: gradients of vectors, and the outer products.
  float *own_gradients, *shared_gradients, *hidden, *features;

  Layer encoder(const Block& b, const float* begin, float* along_width) const {
    float* moments = encoder_stack ? encoder_stack + int64_t{b.wide} * b.code : nullptr;
    return {begin, moments, b.own.count, int64_t{b.wide} * b.code, b.wide, b.code, hidden,
            along_width};
  }
  Layer decoder(const Block& b, const float* matrix) const {
    return {matrix, decoder_moments, b.shared.count, int64_t{b.wide} * b.code, b.code, b.wide,
            inputs, deltas};
  }
  Layer output(const Block& b, float* along_rows) const {
    return {item_rows, row_moments, b.shared.count, int64_t{b.rows} * b.wide, rows, b.wide,
            along_rows, features};
  }
};

// Numbers that only a step or a client needs, from one piece of memory per thread.
class Scratch {
 public:
  void begin(size_t size) {
    if (memory_.size() < size) memory_.resize(size);
    used_ = 0;
  }
  float* take(size_t size) {
    float* found = memory_.data() + used_;
    used_ += (size + 15) / 16 * 16;
    return found;
  }

 private:
  std::vector<float> memory_;
  size_t used_ = 0;
};

// The output layer of a step: errors of the client's rows, and the gradient at its input. A row is
// used for both while it is at hand. Returns the loss.
float output_step(const Block& b, const Member& m, const Layer& layer, const float* weight, int k,
                  const float* bias, const float* features, float* error, float* back) {
  constexpr int kRows = 4;
  const float each = b.usual ? 1 / b.usual : 1.0f / std::max(1, m.rows);
  std::copy(bias, bias + m.rows, error);
  std::fill(back, back + b.wide, 0.0f);
  for (int i = 0; i < k; ++i) {
    const float along = dot(layer.along_width + i * b.wide, features, b.wide);
    const float past = weight[1 + layer.count + i] * along;
    add_scaled(error, past, layer.along_rows + i * m.rows, m.rows);
  }
  const int matrices = layer.moments ? 1 + layer.count : 1;
  float loss = 0;
  for (int row = 0; row < m.rows; row += kRows) {
    const int there = std::min(kRows, m.rows - row);
    for (int j = 0; j < matrices; ++j) {
      const float* matrix = j ? layer.moments + (j - 1) * layer.apart : layer.begin;
      const float* at[kRows];
      for (int r = 0; r < kRows; ++r) at[r] = matrix + int64_t{row + std::min(r, there - 1)} * b.wide;
      float found[kRows];
      dots<kRows>(at, features, b.wide, found);
      const float factor = j ? weight[j] : 1 + weight[0];
      for (int r = 0; r < there; ++r) error[row + r] += factor * found[r];
    }
    float delta[kRows] = {};
    for (int r = 0; r < there; ++r) {
      const float off = error[row + r] - m.targets[row + r];
      loss += each * off * off;
      error[row + r] = delta[r] = 2 * each * off;
    }
    for (int j = 0; j < matrices; ++j) {
      const float* matrix = j ? layer.moments + (j - 1) * layer.apart : layer.begin;
      const float factor = j ? weight[j] : 1 + weight[0];
      const float* at[kRows];
      for (int r = 0; r < kRows; ++r) at[r] = matrix + int64_t{row + std::min(r, there - 1)} * b.wide;
      for (int i = 0; i < b.wide; i += kLanes) {
        Lanes total = delta[0] * load(at[0] + i);
        for (int r = 1; r < kRows; ++r) total += delta[r] * load(at[r] + i);
        store(back + i, load(back + i) + factor * total);
      }
    }
  }
  for (int i = 0; i < k; ++i) {
    const float along = dot(layer.along_rows + i * m.rows, error, m.rows);
    const float past = weight[1 + layer.count + i] * along;
    add_scaled(back, past, layer.along_width + i * b.wide, b.wide);
  }
  return loss;
}

// All local steps of a member; what it keeps is not written yet. ``numbers`` holds what they need.
void train(const Block& b, const Member& m, const Layer& encoder, const Layer& decoder,
           const Layer& output, Scratch& numbers) {
  const int wide = b.wide, code = b.code;
  const int own_size = b.own_vectors(), shared_size = b.shared_vectors();
  float* own = numbers.take(own_size);
  float* shared = numbers.take(shared_size);
  float *z = numbers.take(wide), *back = numbers.take(wide), *errors = numbers.take(b.rows);
  float *normed_0 = numbers.take(wide), *normed_1 = numbers.take(code);
  float *normed_2 = numbers.take(wide), *code_before = numbers.take(code);
  std::vector<int> kept = b.code_rows;
  float total_loss = 0;
  for (int k = 0; k < b.steps; ++k) {
    const float *of_own = b.own.step(k), *of_shared = b.shared.step(k);
    vectors_at(b.own, k, k, m.own_basis, m.own_gradients, own_size, own);
    vectors_at(b.shared, k, k, m.shared_basis, m.shared_gradients, shared_size, shared);
    const float *bias_1 = own + 3 * wide, *v = bias_1 + 3 * code, alpha = v[wide];
    float *hidden = m.hidden + k * wide, *masked = m.inputs + k * code;
    float* features = m.features + k * wide;

    for (int i = 0; i < wide; ++i) z[i] = alpha * m.projection[i] + m.squared_input * v[i] + own[i];
    const float inverse_0 = norm_tanh(z, own + wide, own + 2 * wide, wide, normed_0, hidden);
    std::copy(bias_1, bias_1 + code, z);
    product(encoder, of_own, k, b.wide_rows, hidden, z);
    const float inverse_1 = norm_tanh(z, bias_1 + code, bias_1 + 2 * code, code, normed_1, code_before);
    std::copy(code_before, code_before + code, masked);
    const float* mask = m.masks ? m.masks + int64_t{k} * b.members * code : nullptr;
    if (mask) {
      kept.clear();
      for (int i = 0; i < code; ++i) {
        masked[i] *= mask[i];
        if (mask[i] != 0) kept.push_back(i);
      }
    }
    std::copy(shared, shared + wide, z);
    product(decoder, of_shared, k, kept, masked, z);
    const float inverse_2 = norm_tanh(z, shared + wide, shared + 2 * wide, wide, normed_2, features);

    float* own_gradient = m.own_gradients + k * own_size;
    float* shared_gradient = m.shared_gradients + k * shared_size;
    total_loss += output_step(b, m, output, of_shared, k, shared + 3 * wide, features, errors, back);
    std::copy(errors, errors + m.rows, shared_gradient + 3 * wide);
    std::fill(shared_gradient + 3 * wide + m.rows, shared_gradient + shared_size, 0.0f);
    norm_tanh_back(back, shared + wide, normed_2, features, inverse_2, wide, shared_gradient + wide,
                   shared_gradient + 2 * wide, shared_gradient);
    product_back(decoder, of_shared, k, kept, shared_gradient, back);
    for (int i = 0; i < code && mask; ++i) back[i] *= mask[i];
    float* gradient_1 = own_gradient + 3 * wide;
    norm_tanh_back(back, bias_1 + code, normed_1, code_before, inverse_1, code, gradient_1 + code,
                   gradient_1 + 2 * code, gradient_1);
    product_back(encoder, of_own, k, b.wide_rows, gradient_1, back);
    norm_tanh_back(back, own + wide, normed_0, hidden, inverse_0, wide, own_gradient + wide,
                   own_gradient + 2 * wide, own_gradient);
    float* of_v = gradient_1 + 3 * code;
    std::copy(own_gradient, own_gradient + wide, of_v);
    of_v[wide] = 0;  // alpha

    if (b.clip) {  // |in (x) delta| = |in| |delta|, matrix by matrix
      float squares = dot(own_gradient, own_gradient, 3 * (wide + code));
      squares += dot(shared_gradient, shared_gradient, shared_size);
      squares += m.squared_input * dot(own_gradient, own_gradient, wide);
      squares += dot(hidden, hidden, wide) * dot(gradient_1, gradient_1, code);
      squares += dot(masked, masked, code) * dot(shared_gradient, shared_gradient, wide);
      squares += dot(features, features, wide) * dot(errors, errors, m.rows);
      const float factor = b.clip / std::max(std::sqrt(squares), b.clip);
      for (int i = 0; i < own_size; ++i) own_gradient[i] *= factor;
      for (int i = 0; i < shared_size; ++i) shared_gradient[i] *= factor;
    }
    std::copy(gradient_1, gradient_1 + code, encoder.along_width + k * code);
    std::copy(shared_gradient, shared_gradient + wide, decoder.along_width + k * wide);
    std::copy(shared_gradient + 3 * wide, shared_gradient + 3 * wide + m.rows,
              output.along_rows + k * m.rows);
  }
  *m.loss = total_loss / b.steps;
}

bool all_finite(const float* values, int n) {
  float spoilt = 0;
  for (int i = 0; i < n; ++i) spoilt += values[i] * 0.0f;
  return spoilt == 0;
}

// What the matrices of a stack become: first the change of W_0 (of a private one: D), then moments.
std::vector<Target> renewed(const Path& path, int steps, bool is_private, float* stack,
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

// A row f[width, G] as one of each member, ``apart`` from each other.
template <int G>
void split_row(const float* __restrict from, int width, float* __restrict to, int64_t apart) {
  for (int i = 0; i < width; ++i) {
    for (int g = 0; g < G; ++g) to[g * apart + i] = from[i * G + g];
  }
}

void members_apart(const float* from, int width, int members, float* to, int64_t apart) {
  if (members == 1) return split_row<1>(from, width, to, apart);
  if (members == 4) return split_row<4>(from, width, to, apart);
  for (int g = 0; g < members; ++g) {
    for (int i = 0; i < width; ++i) to[g * apart + i] = from[i * members + g];
  }
}

// The same back.
template <int G>
void join_row(const float* __restrict from, int64_t apart, int width, float* __restrict to) {
  for (int i = 0; i < width; ++i) {
    for (int g = 0; g < G; ++g) to[i * G + g] = from[g * apart + i];
  }
}

void members_together(const float* from, int64_t apart, int width, int members, float* to) {
  if (members == 4) return join_row<4>(from, apart, width, to);
  for (int g = 0; g < members; ++g) {
    for (int i = 0; i < width; ++i) to[i * members + g] = from[g * apart + i];
  }
}

// Where the arrays of a call lie; shapes are in call.py.
struct Arrays {
  const int *slots, *rounds, *items;
  const float *targets, *squared_inputs, *masks, *projections, *own_basis, *shared_basis;
  float *encoder_stacks, *decoder_moments, *row_moments;
  float *own_after, *shared_after, *row_changes, *inputs, *deltas, *decoder_sums, *losses;
};

void train_client(const Block& b, const Arrays& a, int client, Scratch& numbers) {
  const int slot = a.slots[client], members = b.members, wide = b.wide, code = b.code;
  const int own_size = b.own_vectors(), shared_size = b.shared_vectors();
  const int64_t matrix = int64_t{wide} * code, rows_size = int64_t{b.rows} * wide;
  float* losses = a.losses + client * members;
  std::fill(losses, losses + members, 0.0f);
  if (slot >= b.slots) return;  // an empty place of the block
  const bool trained = a.rounds[slot] > 0;
  const int* items = a.items + int64_t{client} * b.rows;
  const int rows = std::lower_bound(items, items + b.rows, b.items) - items;
  const int64_t per_member = rows_size * 2 + 2 * matrix + b.steps * (own_size + shared_size + 2 * wide +
                             code + b.rows) + 3 * own_size + 3 * shared_size + 8 * wide + b.rows + 1024;
  numbers.begin(members * per_member);

  float* gathered = numbers.take(members * rows_size);
  for (int row = 0; row < rows; ++row) {
    members_apart(b.table + int64_t{items[row]} * wide * members, wide, members,
                  gathered + int64_t{row} * wide, rows_size);
  }
  float* changes = a.row_changes + client * rows_size * members;
  float* changed = members == 1 ? changes : numbers.take(members * rows_size);
  std::vector<Layer> encoders, decoders, outputs;
  bool fine = true;
  for (int g = 0; g < members; ++g) {
    const int64_t at = int64_t{client} * members + g, kept = int64_t{slot} * members + g;
    Member m = {};
    m.targets = a.targets + int64_t{client} * b.rows;
    m.masks = a.masks ? a.masks + (int64_t{client} * b.steps * members + g) * code : nullptr;
    m.projection = a.projections + at * wide;
    m.own_basis = a.own_basis + at * (1 + b.own.count) * own_size;
    m.shared_basis = a.shared_basis + at * (1 + b.shared.count) * shared_size;
    m.squared_input = a.squared_inputs[client];
    m.rows = rows;
    m.item_rows = gathered + g * rows_size;
    m.start = b.encoder + g * matrix;
    if (trained) {
      m.encoder_stack = a.encoder_stacks + kept * (1 + b.own.count) * matrix;
      m.decoder_moments = a.decoder_moments + kept * b.shared.count * matrix;
      m.row_moments = a.row_moments + kept * b.shared.count * rows_size;
    }
    m.inputs = a.inputs + at * b.steps * code;
    m.deltas = a.deltas + at * b.steps * wide;
    m.loss = losses + g;
    m.own_gradients = numbers.take(b.steps * own_size);
    m.shared_gradients = numbers.take(b.steps * shared_size);
    m.hidden = numbers.take(b.steps * wide);
    m.features = numbers.take(b.steps * wide);

    const float* begin = m.start;
    if (trained) {
      float* own_begin = numbers.take(matrix);
      std::copy(m.start, m.start + matrix, own_begin);
      add_scaled(own_begin, 1, m.encoder_stack, matrix);
      begin = own_begin;
    }
    encoders.push_back(m.encoder(b, begin, numbers.take(b.steps * code)));
    decoders.push_back(m.decoder(b, b.decoder + g * matrix));
    outputs.push_back(m.output(b, numbers.take(b.steps * b.rows)));
    train(b, m, encoders[g], decoders[g], outputs[g], numbers);

    float* own_after = a.own_after + at * (1 + b.own.count) * own_size;
    float* shared_after = a.shared_after + at * (1 + b.shared.count) * shared_size;
    vectors_after(b.own, b.steps, m.own_basis, m.own_gradients, own_size, own_after);
    vectors_after(b.shared, b.steps, m.shared_basis, m.shared_gradients, shared_size, shared_after);
    const float* weight = b.shared.after(b.steps, 0);
    Target change = {weight[0], {}, weight + 1 + b.shared.count, changed + g * rows_size};
    std::copy(weight + 1, weight + 1 + b.shared.count, change.of_own);
    const int own = trained ? b.shared.count : 0;
    fine &= combine(outputs[g], m.item_rows, m.row_moments, own, b.steps, {change});
    fine &= std::isfinite(*m.loss) && all_finite(shared_after, shared_size);
    fine &= all_finite(m.inputs, b.steps * code) && all_finite(m.deltas, b.steps * wide);
    fine &= all_finite(encoders[g].along_rows, b.steps * wide);
    fine &= all_finite(encoders[g].along_width, b.steps * code);
  }
  for (int row = 0; row < rows && members > 1; ++row) {
    members_together(changed + int64_t{row} * wide, rows_size, wide, members,
                     changes + int64_t{row} * wide * members);
  }
  std::fill(changes + int64_t{rows} * wide * members, changes + rows_size * members, 0.0f);
  if (!fine) {  // as if it had never been asked
    losses[0] = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  for (int g = 0; g < members; ++g) {
    const int64_t kept = int64_t{slot} * members + g;
    float* stack = a.encoder_stacks + kept * (1 + b.own.count) * matrix;
    combine(encoders[g], b.encoder + g * matrix, stack, trained ? 1 + b.own.count : 0, b.steps,
            renewed(b.own, b.steps, true, stack, matrix));
    if (!b.shared.count) continue;
    const int moments = trained ? b.shared.count : 0;
    float* sums = a.decoder_sums + g * b.shared.count * matrix;
    add_scaled(sums, 1, a.decoder_moments + kept * b.shared.count * matrix, moments * matrix);
    stack = a.decoder_moments + kept * b.shared.count * matrix;
    combine(decoders[g], decoders[g].begin, stack, moments, b.steps,
            renewed(b.shared, b.steps, false, stack, matrix));
    stack = a.row_moments + kept * b.shared.count * rows_size;
    combine(outputs[g], outputs[g].begin, stack, moments, b.steps,
            renewed(b.shared, b.steps, false, stack, rows_size));
  }
}

using Floats = ffi::Buffer<ffi::F32>;
using Integers = ffi::Buffer<ffi::S32>;
using Result = ffi::Result<Floats>;

ffi::Error client_round(Integers slots, Integers rounds, Integers items, Floats targets,
                        Floats squared_inputs, Floats masks, Floats projections, Floats own_basis,
                        Floats shared_basis, Floats own_change, Floats own_moments,
                        Floats shared_change, Floats shared_moments, Floats encoder, Floats decoder,
                        Floats table, Floats, Floats, Floats, Result encoder_stacks,
                        Result decoder_moments, Result row_moments, Result own_after,
                        Result shared_after, Result row_changes, Result inputs, Result deltas,
                        Result decoder_sums, Result losses, float clip, float usual) {
  const auto path = [](const Floats& change, const Floats& moments) {
    return Path{change.typed_data(), moments.typed_data(), int(moments.dimensions()[0]),
                int(change.dimensions()[1])};
  };
  const auto shape = encoder.dimensions();
  Block b = {int(shape[0]), int(table.dimensions()[0]), int(rounds.dimensions()[0]),
             int(items.dimensions()[1]), int(shape[1]), int(shape[2]),
             int(own_change.dimensions()[0]) - 1, clip, usual, path(own_change, own_moments),
             path(shared_change, shared_moments), encoder.typed_data(), decoder.typed_data(),
             table.typed_data(), {}, {}};
  for (int i = 0; i < b.wide; ++i) b.wide_rows.push_back(i);
  for (int i = 0; i < b.code; ++i) b.code_rows.push_back(i);
  const Arrays a = {slots.typed_data(), rounds.typed_data(), items.typed_data(),
                    targets.typed_data(), squared_inputs.typed_data(),
                    masks.element_count() ? masks.typed_data() : nullptr,
                    projections.typed_data(), own_basis.typed_data(), shared_basis.typed_data(),
                    encoder_stacks->typed_data(), decoder_moments->typed_data(),
                    row_moments->typed_data(), own_after->typed_data(), shared_after->typed_data(),
                    row_changes->typed_data(), inputs->typed_data(), deltas->typed_data(),
                    decoder_sums->typed_data(), losses->typed_data()};
  std::fill_n(a.decoder_sums, decoder_sums->element_count(), 0.0f);
  thread_local Scratch numbers;
  for (int client = 0; client < int(slots.dimensions()[0]); ++client) {
    train_client(b, a, client, numbers);
  }
  return ffi::Error::Success();
}
}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    pfr_jax_client_round, client_round,
    ffi::Ffi::Bind()
        .Arg<Integers>().Arg<Integers>().Arg<Integers>()
        .Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
        .Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
        .Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
        .Ret<Floats>().Ret<Floats>().Ret<Floats>().Ret<Floats>().Ret<Floats>().Ret<Floats>()
        .Ret<Floats>().Ret<Floats>().Ret<Floats>().Ret<Floats>()
        .Attr<float>("clip").Attr<float>("usual"));
