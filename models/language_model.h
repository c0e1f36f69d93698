// What text generation needs of a language model: tokens in, logits out, a KV cache in between. A
// whole local Llama implements it; so may a pipeline of stages, each with pages of its own under the same
// numbers: a StepPlan is plain numbers and goes to all of them.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "models/page_pool.h"

namespace desta::models {

// The keys and values behind page numbers, wherever the model keeps them.
class KvPages {
 public:
  virtual ~KvPages() = default;
};

// New positions of one sequence.
struct SequenceRows {
  std::vector<PageId> pages = {};  // position p lies in pages[p / kPagePositions]
  std::int64_t first = 0;     // position of the first new row: all before it have been computed
  std::int64_t count = 0;     // new rows
  bool wants_logits = false;  // behind the last of them
};

// One pass through the model for many sequences: some bring a piece of their prompt, some one token.
struct StepPlan {
  struct Copy {
    PageId from;
    PageId to;
  };
  std::vector<Copy> copies = {};  // whole pages, before anything else
  std::vector<SequenceRows> sequences = {};

  [[nodiscard]] std::int64_t rows() const {
    std::int64_t total = 0;
    for (const auto& sequence : sequences) {
      total += sequence.count;
    }
    return total;
  }
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  [[nodiscard]] virtual std::int64_t vocab_size() const = 0;
  [[nodiscard]] virtual std::int64_t max_positions() const = 0;
  // Bytes of a page, where a process has most of it.
  [[nodiscard]] virtual std::int64_t page_bytes() const = 0;
  [[nodiscard]] virtual std::unique_ptr<KvPages> make_pages(std::int64_t count) const = 0;

  // Token embeddings: tokens of any shape, int64 -> [..., hidden].
  [[nodiscard]] virtual at::Tensor embed(const at::Tensor& tokens) const = 0;

  // Runs new positions: embeddings [plan.rows(), hidden], sequence behind sequence. Their keys and values are
  // in `pages` afterwards. Returns the logits of the sequences that want them, in order: [wanting, vocab_size],
  // float32.
  [[nodiscard]] virtual at::Tensor step(const at::Tensor& embeddings, const StepPlan& plan,
                                        KvPages& pages) const = 0;
};

}  // namespace desta::models
