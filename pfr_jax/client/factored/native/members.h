// Members are the last axis outside of the engine, and apart from each other within.

#pragma once

#include <cstdint>

namespace pfr {

// A row f[width, G] as one of each member, ``apart`` from each other.
template <int G>
void split_row(const float* __restrict from, int width, float* __restrict to, int64_t apart) {
  for (int i = 0; i < width; ++i) {
    for (int g = 0; g < G; ++g) to[g * apart + i] = from[i * G + g];
  }
}

inline void members_apart(const float* from, int width, int members, float* to, int64_t apart) {
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

inline void members_together(const float* from, int64_t apart, int width, int members, float* to) {
  if (members == 4) return join_row<4>(from, apart, width, to);
  for (int g = 0; g < members; ++g) {
    for (int i = 0; i < width; ++i) to[i * members + g] = from[g * apart + i];
  }
}

}  // namespace pfr
