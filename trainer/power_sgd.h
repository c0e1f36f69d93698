// PowerSGD (Vogels, Karimireddy and Jaggi 2019): the gradient M [n, m] of a matrix crosses as P [n, r]
// and Q [m, r], the first step of a power iteration that starts from the last step's Q (warm start).
//
//   M = gradient + error;  P = M Q, summed over replicas, made orthonormal;  Q = M^T P, summed;
//   the sum of all M is taken to be P Q^T;  error = M - P Q^T / replicas
//
// What has fewer elements than its P and Q would have, twice over (PyTorch's min_compression_rate),
// crosses beside P as it is.
#pragma once

#include <string>
#include <vector>

#include "trainer/gradient_wire.h"

namespace desta::trainer {

class PowerSgdWire final : public GradientWire {
 public:
  PowerSgdWire(FlatParameters& parameters, runtime::Communicator& replicas, std::int64_t rank);

  [[nodiscard]] bool sends_at_once() const override { return false; }
  void send(std::int64_t begin, std::int64_t count) override;
  void finish_sending() override;
  [[nodiscard]] bool poll() override;
  void wait() override;
  [[nodiscard]] std::uint64_t bytes() const override {
    return models::byte_size(p_memory_) + models::byte_size(q_memory_);
  }
  void reset() override;
  void even_out() override;
  [[nodiscard]] TensorMap state() override;
  void restore(const TensorMap& state) override;

 private:
  struct Matrix {
    std::string name;
    Tensor gradient;  // [n, m], of this rank; its sum in the end
    Tensor error;     // [n, m]
    Tensor p;         // [n, r], in p_memory_
    Tensor q;         // [m, r], in q_memory_
  };
  struct Plain {
    Tensor gradient;  // [count]
    Tensor wire;      // [count], in p_memory_
  };
  enum class Round { kIdle, kP, kQ };

  void bind();
  void draw(Matrix& matrix);
  void start_q();
  void finish();
  void redraw_lost_columns(Matrix& matrix);

  FlatParameters& parameters_;
  runtime::Communicator& replicas_;
  const std::int64_t rank_;
  Tensor error_;     // [count] float32
  Tensor p_memory_;  // all P, then what crosses as it is
  Tensor q_memory_;
  std::vector<Matrix> matrices_;
  std::vector<Plain> plain_;
  Round round_ = Round::kIdle;
  std::unique_ptr<runtime::Work> work_;
};

}  // namespace desta::trainer
