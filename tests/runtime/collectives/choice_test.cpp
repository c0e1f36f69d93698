// The table of algorithms: written, read, measured, kept.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "ranks_under_test.h"
#include "runtime/collectives/choice.h"

namespace desta::runtime::testing {
namespace {

const Topology kOneHost{{"n1"}, {0, 0, 0}, true};
const Topology kTwoHosts{{"n1", "n2"}, {0, 0, 1, 1}, true};
const Topology kApart{{"n1", "n2", "n3"}, {0, 1, 2}, false};

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(ChoiceTable, IsReadAsItIsWritten) {
  const std::string text = "4096:recursive-doubling,1048576:hierarchical+direct,hierarchical+ring";
  const auto table = ChoiceTable::parse(text, kTwoHosts);
  EXPECT_EQ(table.text(kTwoHosts), text);
  EXPECT_EQ(name_of(table.at(4096), kTwoHosts), "recursive-doubling");
  EXPECT_EQ(name_of(table.at(4097), kTwoHosts), "hierarchical+direct");
  EXPECT_EQ(name_of(table.at(std::size_t{1} << 40), kTwoHosts), "hierarchical+ring");
  EXPECT_EQ(ChoiceTable::parse("ring", kApart).text(kApart), "ring");
  EXPECT_EQ(ChoiceTable::parse("hierarchical", kTwoHosts).text(kTwoHosts), "hierarchical+direct");
  EXPECT_EQ(
      ChoiceTable({{10, {false, Flat::kRing}}, {SIZE_MAX, {false, Flat::kRing}}}).text(kApart),
      "ring");
}

TEST(ChoiceTable, SaysWhatIsWrongWithIt) {
  EXPECT_EQ(
      message_of([] { (void)ChoiceTable::parse("rink", kApart); }),
      "no collective algorithm 'rink' for ranks on n1 x 1, n2 x 1, n3 x 1; choose auto, fastest, "
      "or of direct, ring, recursive-doubling, halving-doubling, open-mpi");
  EXPECT_NE(message_of([] {
              (void)ChoiceTable::parse("shared-memory", kTwoHosts);
            }).find("no collective algorithm 'shared-memory'"),
            std::string::npos);
  EXPECT_NE(message_of([] {
              (void)ChoiceTable::parse("x:ring,direct", kApart);
            }).find("'x' in the collective algorithms"),
            std::string::npos);
  for (const char* text : {"4096:ring", "ring,direct", "8:ring,4:direct,ring", ",ring"}) {
    EXPECT_NE(message_of([&] { (void)ChoiceTable::parse(text, kApart); }), "nothing was thrown")
        << text;
  }
}

TEST(ChoiceTable, AutoHasOnlyWhatGivesTheSameBits) {
  const auto names = [](const Topology& topology) {
    std::string all;
    for (const Algorithm one : candidates(topology, true)) {
      all += name_of(one, topology) + " ";
    }
    return all;
  };
  EXPECT_EQ(names(kOneHost), "shared-memory ");
  EXPECT_EQ(names(kTwoHosts),
            "hierarchical+direct hierarchical+recursive-doubling hierarchical+halving-doubling ");
  EXPECT_EQ(names(kApart), "direct ");
}

TEST(ChoiceTable, IsMeasuredOnceAndKeptForItsHosts) {
  const auto folder =
      std::filesystem::temp_directory_path() / fmt::format("desta-choice-{}", getpid());
  std::filesystem::remove_all(folder);
  const auto run = [&] {
    auto links = make_thread_links(2);
    std::vector<std::string> tables(2);
    std::vector<std::thread> threads;
    for (std::size_t rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&, rank] {
        GroupOptions options;
        options.tables = folder / "sub" / "collectives.json";
        options.host = rank == 0 ? "n1" : "n2";
        const auto communicator = make_group_communicator(std::move(links[rank]), options);
        EXPECT_EQ(communicator->algorithms(), "auto");
        float one = 1;
        communicator->all_reduce(&one, 1, DType::kFloat32, ReduceOp::kSum);
        EXPECT_EQ(one, 2.0F);
        EXPECT_LE(communicator->traffic().sent, sizeof(float)) << "measuring is not counted";
        tables[rank] = communicator->algorithms();
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_EQ(tables[0], tables[1]);
    return tables[0];
  };
  const auto text_of_file = [&] {
    std::stringstream text;
    text << std::ifstream(folder / "sub" / "collectives.json").rdbuf();
    return text.str();
  };
  const std::string measured = run();
  EXPECT_NE(text_of_file().find("\"auto: n1 x 1, n2 x 1\": \"" + measured + "\""),
            std::string::npos)
      << text_of_file();
  // What the file says is what is run.
  std::ofstream(folder / "sub" / "collectives.json")
      << R"({"auto: n1 x 1, n2 x 1": "77:recursive-doubling,direct", "other": "ring"})";
  EXPECT_EQ(run(), "77:recursive-doubling,direct");
  // What nobody can run is measured again, and the rest of the file stays.
  std::ofstream(folder / "sub" / "collectives.json")
      << R"({"auto: n1 x 1, n2 x 1": "nonsense", "other": "ring"})";
  EXPECT_NE(run(), "nonsense");
  EXPECT_NE(text_of_file().find("\"other\": \"ring\""), std::string::npos);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace desta::runtime::testing
