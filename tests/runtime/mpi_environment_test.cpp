#include "runtime/transport/mpi_environment.h"

#include <gtest/gtest.h>

#include "mpi_job.h"

namespace desta::runtime::testing {
namespace {

TEST(MpiEnvironment, GathersWhatEveryRankHasGivenInTheOrderOfRanks) {
  // Of different lengths, one of them empty, with bytes that end C strings.
  const auto text_of = [](int rank) {
    return rank == 1 ? std::string()
                     : std::string(static_cast<std::size_t>(rank) + 2, '\0') + "end";
  };
  for (int round = 0; round < 3; ++round) {
    const auto all = job().all_gather(text_of(job().rank()));
    ASSERT_EQ(all.size(), static_cast<std::size_t>(job().size()));
    for (int rank = 0; rank < job().size(); ++rank) {
      EXPECT_EQ(all[static_cast<std::size_t>(rank)], text_of(rank)) << rank;
    }
  }
}

}  // namespace
}  // namespace desta::runtime::testing
