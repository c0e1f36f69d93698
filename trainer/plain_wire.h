// Gradients that cross element by element, in float32 or in bfloat16.
#pragma once

#include <vector>

#include "trainer/gradient_wire.h"

namespace desta::trainer {

class PlainWire final : public GradientWire {
 public:
  // `type`: at::kFloat, or at::kBFloat16: then each gradient is rounded to nearest even, and the
  // difference is added to the next step's. Their sum is rounded once more; that is not made up for.
  PlainWire(FlatParameters& parameters, runtime::Communicator& replicas, at::ScalarType type);

  [[nodiscard]] bool sends_at_once() const override { return true; }
  void send(std::int64_t begin, std::int64_t count) override;
  void finish_sending() override {}
  [[nodiscard]] bool poll() override;
  void wait() override;
  [[nodiscard]] std::uint64_t bytes() const override { return models::byte_size(wire_); }
  void reset() override;
  void even_out() override;
  [[nodiscard]] TensorMap state() override;
  void restore(const TensorMap& state) override;

 private:
  struct Sent {
    std::int64_t begin;
    std::int64_t count;
    std::unique_ptr<runtime::Work> work;
  };

  FlatParameters& parameters_;
  runtime::Communicator& replicas_;
  Tensor wire_;   // [count] of the type; the gradients themselves where that is possible
  Tensor error_;  // [count] float32; undefined in float32
  std::vector<Sent> sent_;
};

}  // namespace desta::trainer
