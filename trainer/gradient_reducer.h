// Sums the gradients of a trial over its replicas, in buckets that go out as soon as the backward pass
// has filled them (PowerSGD, which needs the whole gradient: all at its end), and lets the caller do
// other work until all have come in.
//
//   reducer.expect_last_backward();   // before the step's last backward pass
//   ... backward ...                  // full buckets go out
//   reducer.start();                  // the rest
//   while (!reducer.poll()) { ... }   // other work
//   reducer.wait();                   // the gradients are sums
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "trainer/gradient_hooks.h"
#include "trainer/gradient_wire.h"

namespace desta::trainer {

// Neighbours in the flat buffer that cross together.
struct GradientBucket {
  std::int64_t begin = 0;
  std::int64_t count = 0;
  std::size_t first_piece = 0;
  std::size_t pieces = 0;
  friend bool operator==(const GradientBucket&, const GradientBucket&) = default;
};

// Cuts the pieces into buckets of at most so many elements, but at least one piece each.
[[nodiscard]] std::vector<GradientBucket> cut_buckets(
    const std::vector<FlatParameters::Piece>& pieces, std::int64_t first_size, std::int64_t size);

class GradientReducer {
 public:
  // Both must outlive it. Collective.
  GradientReducer(FlatParameters& parameters, runtime::Communicator& replicas,
                  const ReductionOptions& options);

  void expect_last_backward();
  void start();
  // Never blocks. True when wait() will not block either.
  [[nodiscard]] bool poll();
  // Throws TransportError naming a replica that is gone.
  void wait();

  [[nodiscard]] GradientWire& wire() { return *wire_; }
  [[nodiscard]] const std::vector<GradientBucket>& buckets() const { return buckets_; }
  // Buckets that have gone out by now, before start(): while the backward pass is still going on.
  [[nodiscard]] std::size_t early() const { return wire_->sends_at_once() ? next_ : 0; }

 private:
  void arrived(std::size_t piece);
  void send_next();

  std::unique_ptr<GradientWire> wire_;
  std::vector<GradientBucket> buckets_;
  std::vector<std::size_t> bucket_of_;  // by piece
  std::vector<std::size_t> missing_;    // pieces, by bucket
  std::size_t next_ = 0;                // the first bucket that has not gone out
  bool last_backward_ = false;
  GradientHooks hooks_;
};

}  // namespace desta::trainer
