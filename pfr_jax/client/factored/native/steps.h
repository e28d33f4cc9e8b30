// All local steps of one member of one client; see step.py.

#pragma once

#include "layers.h"

namespace pfr {

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
inline float output_step(const Block& b, const Member& m, const Layer& layer, const float* weight, int k,
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
inline void train(const Block& b, const Member& m, const Layer& encoder, const Layer& decoder,
           const Layer& output, Scratch& numbers) {
  const int wide = b.wide, code = b.code;
  const int own_size = b.own_vectors(), shared_size = b.shared_vectors();
  float* own = numbers.take(own_size);
  float* shared = numbers.take(shared_size);
  const int most = std::max(wide, code);
  float *z = numbers.take(most), *back = numbers.take(most), *errors = numbers.take(b.rows);
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

}  // namespace pfr
