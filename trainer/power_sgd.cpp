#include "trainer/power_sgd.h"

#include "models/torch_util.h"
#include "runtime/core/hash.h"
#include "trainer/wire_memory.h"

namespace desta::trainer {
namespace {

constexpr const char* kError = "error.";
constexpr const char* kQ = "q.";
// A column of which less than this remains lay in the span of those before it, but for rounding.
constexpr double kRemainder = 1e-5;

// Makes the columns of [n, r] orthonormal, from the first on (Gram-Schmidt, each twice, which is enough
// for float32; Giraud et al. 2005). A column that depends on those before it becomes zero: blown up, its
// rounding errors would be taken for a direction.
void orthonormalise(Tensor& p) {
  for (std::int64_t column = 0; column < p.size(1); ++column) {
    Tensor current = p.select(1, column);
    const Tensor before = at::norm(current);
    for (int pass = 0; pass < 2 && column > 0; ++pass) {
      const Tensor basis = p.narrow(1, 0, column);
      current.sub_(at::mv(basis, at::mv(basis.t(), current)));
    }
    const Tensor remains = at::norm(current);
    current.mul_(at::where(remains > kRemainder * before, remains.reciprocal(), at::zeros_like(remains)));
  }
}

// Rows and columns of a parameter as a matrix: all dimensions but the last are rows.
std::pair<std::int64_t, std::int64_t> matrix_shape(const FlatParameters::Piece& piece) {
  const std::int64_t columns = piece.shape.empty() ? 1 : piece.shape.back();
  return {piece.count() / std::max<std::int64_t>(1, columns), columns};
}

bool is_worth_it(std::int64_t rows, std::int64_t columns, std::int64_t rank) {
  return 2 * rank * (rows + columns) < rows * columns;
}

}  // namespace

PowerSgdWire::PowerSgdWire(FlatParameters& parameters, runtime::Communicator& replicas,
                           std::int64_t rank)
    : parameters_(parameters),
      replicas_(replicas),
      rank_(rank),
      error_(at::zeros_like(parameters.gradients())) {
  bind();
  reset();
}

// Gives each parameter its place in the memory that crosses.
void PowerSgdWire::bind() {
  std::int64_t p_count = 0;
  std::int64_t q_count = 0;
  for (const auto& piece : parameters_.pieces()) {
    const auto [rows, columns] = matrix_shape(piece);
    const bool compressed = is_worth_it(rows, columns, rank_);
    p_count += compressed ? rows * rank_ : piece.count();
    q_count += compressed ? columns * rank_ : 0;
  }
  const auto device = parameters_.gradients().device();
  p_memory_ = make_wire_memory(replicas_, p_count, at::kFloat, device);
  q_memory_ = make_wire_memory(replicas_, q_count, at::kFloat, device);
  std::int64_t p_at = 0;
  std::int64_t q_at = 0;
  for (const auto& piece : parameters_.pieces()) {
    const auto [rows, columns] = matrix_shape(piece);
    const Tensor gradient = parameters_.gradients().narrow(0, piece.offset, piece.count());
    if (!is_worth_it(rows, columns, rank_)) {
      plain_.push_back({gradient, p_memory_.narrow(0, p_at, piece.count())});
      p_at += piece.count();
      continue;
    }
    matrices_.push_back({piece.name, gradient.view({rows, columns}),
                         error_.narrow(0, piece.offset, piece.count()).view({rows, columns}),
                         p_memory_.narrow(0, p_at, rows * rank_).view({rows, rank_}),
                         q_memory_.narrow(0, q_at, columns * rank_).view({columns, rank_})});
    p_at += rows * rank_;
    q_at += columns * rank_;
  }
}

// Of the name alone: the same on every replica.
void PowerSgdWire::draw(Matrix& matrix) {
  const auto generator = models::make_generator(runtime::hash64(matrix.name));
  matrix.q.copy_(at::randn(matrix.q.sizes(), generator));
}

void PowerSgdWire::send(std::int64_t /*begin*/, std::int64_t /*count*/) {}

void PowerSgdWire::finish_sending() {
  const at::NoGradGuard no_grad;
  for (Matrix& matrix : matrices_) {
    matrix.gradient.add_(matrix.error);
    at::mm_out(matrix.p, matrix.gradient, matrix.q);
  }
  for (Plain& plain : plain_) {
    plain.wire.copy_(plain.gradient);
  }
  round_ = Round::kP;
  work_ = all_reduce_async(replicas_, p_memory_, runtime::ReduceOp::kSum);
}

bool PowerSgdWire::poll() {
  if (round_ == Round::kP && work_->done()) {
    start_q();
  }
  return round_ == Round::kIdle || (round_ == Round::kQ && work_->done());
}

void PowerSgdWire::wait() {
  if (round_ == Round::kP) {
    start_q();
  }
  if (round_ == Round::kQ) {
    finish();
  }
}

void PowerSgdWire::start_q() {
  const at::NoGradGuard no_grad;
  work_->wait();
  for (Matrix& matrix : matrices_) {
    orthonormalise(matrix.p);
    at::mm_out(matrix.q, matrix.gradient.t(), matrix.p);
  }
  for (Plain& plain : plain_) {
    plain.gradient.copy_(plain.wire);
  }
  round_ = Round::kQ;
  work_ = all_reduce_async(replicas_, q_memory_, runtime::ReduceOp::kSum);
}

void PowerSgdWire::finish() {
  const at::NoGradGuard no_grad;
  work_->wait();
  const double share = 1.0 / replicas_.size();
  for (Matrix& matrix : matrices_) {
    const Tensor sum = at::mm(matrix.p, matrix.q.t());
    matrix.error.copy_(matrix.gradient).sub_(sum, share);
    matrix.gradient.copy_(sum);
    redraw_lost_columns(matrix);
  }
  round_ = Round::kIdle;
}

// A column that has become zero would stay so: a gradient that was zero for one step, as that of a
// low-rank update at the start, would never cross.
void PowerSgdWire::redraw_lost_columns(Matrix& matrix) {
  const Tensor lost = matrix.q.abs().amax(0).eq(0);
  if (!lost.any().item<bool>()) {
    return;
  }
  const Tensor kept = matrix.q.clone();
  draw(matrix);
  matrix.q.copy_(at::where(lost.unsqueeze(0), matrix.q, kept));
}

void PowerSgdWire::reset() {
  const at::NoGradGuard no_grad;
  error_.zero_();
  for (Matrix& matrix : matrices_) {
    draw(matrix);
  }
}

void PowerSgdWire::even_out() { average(replicas_, error_); }

TensorMap PowerSgdWire::state() {
  TensorMap out;
  for (const Matrix& matrix : matrices_) {
    out[kError + matrix.name] = matrix.error;
    out[kQ + matrix.name] = matrix.q;
  }
  return out;
}

void PowerSgdWire::restore(const TensorMap& state) {
  reset();
  copy_known(state, this->state());
}

}  // namespace desta::trainer
