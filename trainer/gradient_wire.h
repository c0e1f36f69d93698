// How gradients cross between replicas: as they are, as bfloat16, or as products of thin matrices. What
// a lossy format leaves out of a step is kept and added to the next one's gradient (error feedback;
// Karimireddy et al. 2019), so that nothing is lost for good.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/collectives/communicator.h"
#include "trainer/flat_parameters.h"

namespace desta::trainer {

struct ReductionOptions {
  std::string wire = "float32";     // or "bfloat16", "powersgd"
  std::int64_t powersgd_rank = 4;   // columns of the thin matrices
  // Sizes of the first bucket and of the others; Li et al. 2020 (PyTorch DDP) have 1 and 25.
  std::int64_t first_bucket_mib = 1;
  std::int64_t bucket_mib = 25;
};

class GradientWire {
 public:
  virtual ~GradientWire() = default;

  // Does send() put on the wire what it is given, or is all kept for finish_sending()?
  [[nodiscard]] virtual bool sends_at_once() const = 0;
  // This rank's gradients [begin, begin + count) of the flat buffer are whole: they may go out. All
  // ranks send the same pieces in the same order.
  virtual void send(std::int64_t begin, std::int64_t count) = 0;
  // All pieces have been given to send().
  virtual void finish_sending() = 0;
  // Moves on without blocking; true when all that is to come is there.
  [[nodiscard]] virtual bool poll() = 0;
  // Blocks. The gradients are sums over the replicas then, the same on each to the bit.
  virtual void wait() = 0;

  // What an all-reduce of one step is given, in bytes.
  [[nodiscard]] virtual std::uint64_t bytes() const = 0;

  // Forgets what earlier steps left out: after a step whose gradient was not finite.
  virtual void reset() = 0;
  // What earlier steps left out, summed up over the replicas and shared out evenly: then every replica
  // has the same state, and any number of replicas can go on from it. Collective.
  virtual void even_out() = 0;
  // That state, by name (views; empty for a format that leaves nothing out).
  [[nodiscard]] virtual TensorMap state() = 0;
  // Copies what is there of it; what is missing or of another shape starts anew.
  virtual void restore(const TensorMap& state) = 0;
};

// `parameters` and `replicas` must outlive it. On host memory, the gradients or what stands for them
// on the wire lie where the communicator is fastest. Collective. Throws ConfigError for another format.
[[nodiscard]] std::unique_ptr<GradientWire> make_gradient_wire(FlatParameters& parameters,
                                                               runtime::Communicator& replicas,
                                                               const ReductionOptions& options);

}  // namespace desta::trainer
