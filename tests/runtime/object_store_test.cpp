// One node's store of shared objects by itself: what it tells the others, and when.
#include "runtime/actor/object_store.h"

#include <gtest/gtest.h>

#include <vector>

namespace desta::runtime::detail {
namespace {

using Kind = ObjectNotice::Kind;

// An answer of the owner to an earlier hold says nothing of a later one: between the two the object
// was let go of, and the sender of the new reference must go on holding it.
TEST(ObjectStore, OwnersAnswerCountsForTheHoldThatItAnswers) {
  std::vector<ObjectNotice> told;
  const auto store = std::make_shared<ObjectStore>(
      1, 1000, [&](const ObjectNotice& notice) { told.push_back(notice); });
  const ObjectId object = actor_id(0, 1);
  auto held = store->receive(2, 7, false, {object});
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].kind, Kind::kHold);
  held.clear();
  ASSERT_EQ(told.size(), 3U);
  EXPECT_EQ(told[1].kind, Kind::kRelease);
  EXPECT_EQ(told[2].kind, Kind::kReceived);
  held = store->receive(2, 8, false, {object});
  ASSERT_EQ(told.size(), 4U);
  EXPECT_EQ(told[3].kind, Kind::kHold);
  store->registered(object, told[0].generation, true);
  EXPECT_EQ(told.size(), 4U);
  store->registered(object, told[3].generation, true);
  ASSERT_EQ(told.size(), 5U);
  EXPECT_EQ(told[4].kind, Kind::kReceived);
  EXPECT_EQ(told[4].request, 8U);
  store->close();
}

}  // namespace
}  // namespace desta::runtime::detail
