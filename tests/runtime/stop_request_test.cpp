#include "runtime/core/stop_request.h"

#include <gtest/gtest.h>

#include <csignal>

namespace desta::runtime {
namespace {

class StopRequest : public ::testing::Test {
 protected:
  ~StopRequest() override { clear_stop_request(); }
};

TEST_F(StopRequest, NobodyHasAsked) {
  EXPECT_FALSE(stop_is_due());
  EXPECT_FALSE(stop_is_due(1e9)) << "without a deadline there is time for anything";
  EXPECT_EQ(stop_reason(), "");
}

TEST_F(StopRequest, ASignalAsksAtOnceAndIsNamed) {
  request_stop(SIGUSR1);
  EXPECT_TRUE(stop_is_due());
  EXPECT_EQ(stop_reason(), "signal SIGUSR1");
}

TEST_F(StopRequest, ADeadlineCountsWhatTheNextStepTakes) {
  using std::chrono::seconds;
  set_stop_deadline(std::chrono::system_clock::now() + seconds(1000));
  EXPECT_FALSE(stop_is_due(1));
  EXPECT_FALSE(stop_is_due(900));
  EXPECT_EQ(stop_reason(), "");
  EXPECT_TRUE(stop_is_due(1001));
  EXPECT_EQ(stop_reason(), "the time limit");
  EXPECT_TRUE(stop_is_due()) << "once due, it stays due";
}

}  // namespace
}  // namespace desta::runtime
