// Causal attention of one sequence on a CPU, in float32: the heads of queries that read one head of keys. Private to
// this folder.
#pragma once

#include <cstdint>

namespace desta::models {

// All rows lie side by side, [..., head_dim].
struct SequenceHeads {
  std::int64_t queries = 1;   // heads of queries
  std::int64_t length = 0;
  std::int64_t shared = 0;    // keys in front of the sequence's own
  std::int64_t head_dim = 0;
  const float* q = nullptr;   // a head is [length, head_dim]
  std::int64_t q_head = 0;    // numbers from a head of queries to the next
  const float* k = nullptr;   // [length, head_dim]
  const float* v = nullptr;
  const float* shared_k = nullptr;  // [shared, head_dim]
  const float* shared_v = nullptr;
};

// out: as q.
void attend_sequence(const SequenceHeads& heads, float* out);
// gradient: of `out`, as q. dq: as q; dk, dv: as k; all are overwritten.
void attend_sequence_backward(const SequenceHeads& heads, const float* gradient, float* dq, float* dk, float* dv);

}  // namespace desta::models
