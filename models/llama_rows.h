// A Llama's layers over rows of numbers in memory: what generation on a CPU runs. LlamaLayer::step() does the same with
// tensors, some thirty operations a layer; a token of a small model takes no longer than those cost.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "models/language_model.h"
#include "models/llama_config.h"
#include "models/paged_kv_cache.h"

namespace desta::models {

struct LlamaLayerWeights {
  at::Tensor input_norm, query, key, value, output, post_norm, gate, up, down;
};

class LlamaRows {
 public:
  virtual ~LlamaRows() = default;

  // Of layers without updates, all in float32 or in bfloat16 on a CPU; norm and head are undefined where the part has
  // none. Null where a weight is of another kind, and where its fastest kernel is AMX's, which wants rows packed. The
  // tensors' memory must outlive this.
  [[nodiscard]] static std::shared_ptr<const LlamaRows> make(const LlamaConfig& config,
                                                             const std::vector<LlamaLayerWeights>& layers,
                                                             const at::Tensor& norm, const at::Tensor& head,
                                                             const at::Tensor& inverse_frequencies);

  // As Llama::step(), behind the copies. One team of threads goes through all layers: of each product a thread takes
  // the next share of outputs that nobody has, and waits for the others only where rows are needed whole.
  [[nodiscard]] virtual at::Tensor step(const at::Tensor& embeddings, const StepPlan& plan,
                                        PagedKvCache& cache) const = 0;
};

}  // namespace desta::models
