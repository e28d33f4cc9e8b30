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

#include "members.h"
#include "steps.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace pfr {
namespace {

bool all_finite(const float* values, int n) {
  float spoilt = 0;
  for (int i = 0; i < n; ++i) spoilt += values[i] * 0.0f;
  return spoilt == 0;
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
  const int64_t of_step = own_size + shared_size + 2 * wide + code + b.rows;
  const int64_t per_member = 2 * rows_size + 2 * matrix + b.steps * of_step + own_size +
                             shared_size + 8 * std::max(wide, code) + b.rows + 1024;
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
}  // namespace pfr

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    pfr_jax_client_round, pfr::client_round,
    ffi::Ffi::Bind()
        .Arg<pfr::Integers>().Arg<pfr::Integers>().Arg<pfr::Integers>()
        .Arg<pfr::Floats>().Arg<pfr::Floats>().Arg<pfr::Floats>().Arg<pfr::Floats>().Arg<pfr::Floats>().Arg<pfr::Floats>()
        .Arg<pfr::Floats>().Arg<pfr::Floats>().Arg<pfr::Floats>().Arg<pfr::Floats>().Arg<pfr::Floats>().Arg<pfr::Floats>()
        .Arg<pfr::Floats>().Arg<pfr::Floats>().Arg<pfr::Floats>().Arg<pfr::Floats>()
        .Ret<pfr::Floats>().Ret<pfr::Floats>().Ret<pfr::Floats>().Ret<pfr::Floats>().Ret<pfr::Floats>().Ret<pfr::Floats>()
        .Ret<pfr::Floats>().Ret<pfr::Floats>().Ret<pfr::Floats>().Ret<pfr::Floats>()
        .Attr<float>("clip").Attr<float>("usual"));
