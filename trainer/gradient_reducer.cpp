#include "trainer/gradient_reducer.h"

namespace desta::trainer {
namespace {

std::int64_t elements(std::int64_t mebibytes) {
  return (mebibytes << 20) / static_cast<std::int64_t>(sizeof(float));
}

}  // namespace

std::vector<GradientBucket> cut_buckets(const std::vector<FlatParameters::Piece>& pieces,
                                        std::int64_t first_size, std::int64_t size) {
  std::vector<GradientBucket> buckets;
  for (std::size_t index = 0; index < pieces.size(); ++index) {
    const FlatParameters::Piece& piece = pieces[index];
    const std::int64_t limit = buckets.size() == 1 ? first_size : size;
    if (buckets.empty() || buckets.back().count + piece.count() > limit) {
      buckets.push_back({piece.offset, 0, index, 0});
    }
    buckets.back().count += piece.count();
    ++buckets.back().pieces;
  }
  return buckets;
}

GradientReducer::GradientReducer(FlatParameters& parameters, runtime::Communicator& replicas,
                                 const ReductionOptions& options)
    : wire_(make_gradient_wire(parameters, replicas, options)),
      buckets_(cut_buckets(parameters.pieces(), elements(options.first_bucket_mib),
                           elements(options.bucket_mib))),
      hooks_(parameters, [this](std::size_t piece) { arrived(piece); }) {
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    bucket_of_.insert(bucket_of_.end(), buckets_[bucket].pieces, bucket);
  }
}

void GradientReducer::expect_last_backward() {
  missing_.clear();
  for (const GradientBucket& bucket : buckets_) {
    missing_.push_back(bucket.pieces);
  }
  last_backward_ = true;
}

void GradientReducer::arrived(std::size_t piece) {
  if (!last_backward_) {
    return;
  }
  --missing_[bucket_of_[piece]];
  while (next_ < buckets_.size() && missing_[next_] == 0) {
    send_next();
  }
}

void GradientReducer::send_next() {
  wire_->send(buckets_[next_].begin, buckets_[next_].count);
  ++next_;
}

void GradientReducer::start() {
  last_backward_ = false;
  while (next_ < buckets_.size()) {
    send_next();
  }
  next_ = 0;
  wire_->finish_sending();
}

bool GradientReducer::poll() { return wire_->poll(); }

void GradientReducer::wait() { wire_->wait(); }

}  // namespace desta::trainer
