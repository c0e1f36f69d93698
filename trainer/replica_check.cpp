#include "trainer/replica_check.h"

#include <fmt/ranges.h>

#include <array>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/hash.h"
#include "trainer/wire_memory.h"

namespace desta::trainer {
namespace {

// Every replica's hash, by rank.
std::vector<std::int64_t> gather(runtime::Communicator& replicas, std::uint64_t hash,
                                 at::Device device) {
  const auto options =
      at::TensorOptions().dtype(at::kLong).device(reduces_on_device(replicas) ? device : at::kCPU);
  const at::Tensor mine = at::full({1}, static_cast<std::int64_t>(hash), options);
  const at::Tensor all = at::empty({replicas.size()}, options);
  replicas.all_gather(mine.data_ptr(), all.data_ptr(), 1, runtime::DType::kInt64);
  const at::Tensor here = all.to(at::kCPU);
  const auto* first = here.data_ptr<std::int64_t>();
  return {first, first + here.numel()};
}

}  // namespace

void ReplicaCheck::require_same(runtime::Communicator& replicas, const at::Tensor& values,
                                std::int64_t step) {
  const std::array<std::uint64_t, 2> chain{hash_, models::checksum(values)};
  hash_ = runtime::hash64(std::as_bytes(std::span(chain)));
  const std::vector<std::int64_t> all = gather(replicas, hash_, values.device());
  std::map<std::int64_t, int> votes;
  for (const auto hash : all) {
    ++votes[hash];
  }
  if (votes.size() == 1) {
    return;
  }
  std::int64_t right = all.front();
  for (const auto& [hash, count] : votes) {
    right = count > votes.at(right) ? hash : right;
  }
  std::vector<std::size_t> others;
  for (std::size_t replica = 0; replica < all.size(); ++replica) {
    if (all[replica] != right) {
      others.push_back(replica);
    }
  }
  throw runtime::InternalError(
      "after step {} the parameters of replica{} {} differ from those of the others: memory or "
      "network of its node may be faulty; the last checkpoint is from before",
      step, others.size() > 1 ? "s" : "", fmt::join(others, ", "));
}

}  // namespace desta::trainer
