// desta-data as a person starts it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "datagen/described_rows.h"
#include "desta_version.h"
#include "multiprocess/command.h"

namespace desta::tests {
namespace {

namespace fs = std::filesystem;
using datagen::described_row;
using datagen::write_described;

const std::string kProgram = std::string(DESTA_BIN) + "/desta-data";

class DataProgram : public ::testing::Test {
 protected:
  DataProgram() { write_described(folder_ / "set", 0, 30, 7); }

  Finished run(const std::string& arguments) const {
    return run_command(fmt::format("sh -c 'cd {} && exec {} {}'", folder_.path().string(), kProgram,
                                   arguments));
  }
  void expect(const std::string& arguments, int code, const std::string& part) const {
    const Finished finished = run(arguments);
    EXPECT_EQ(finished.code, code) << arguments << "\n" << finished.output;
    EXPECT_NE(finished.output.find(part), std::string::npos) << arguments << "\n" << finished.output;
    if (code != 0 && arguments.find("verify") == std::string::npos) {
      EXPECT_LE(count_of(finished.output, "\n"), 2) << "one line:\n" << finished.output;
    }
  }
  datagen::TestFolder folder_;
};

TEST_F(DataProgram, HasHelpAndAVersionAndNeedsASubcommand) {
  expect("--version", 0, DESTA_VERSION);
  for (const char* name : {"stats", "show", "verify", "export", "merge"}) {
    expect("--help", 0, name);
    expect(std::string(name) + " --help", 0, "Usage");
    expect(name, 2, "required");
  }
  expect("", 2, "subcommand");
  expect("shuffle set", 2, "subcommand");
}

TEST_F(DataProgram, CountsAsTextAndAsAPage) {
  expect("stats set --html page.html --examples 3", 0, "30 rows in 5 shards");
  const std::string page = read_text(folder_ / "page.html");
  EXPECT_EQ(count_of(page, "<section>"), 3);
  EXPECT_NE(page.find("Female"), std::string::npos);
}

TEST_F(DataProgram, ShowsRowsForPeopleAndPrograms) {
  expect("show set", 0, described_row(0).id);
  expect("show set --row 8", 0, "Response number 8\n");
  expect("show set --id " + described_row(9).id, 0, "row 9\n");
  const auto drawn = run("show set --random 4 --seed 2 --json");
  EXPECT_EQ(drawn.output, run("show set --random 4 --seed 2 --json").output);
  EXPECT_EQ(count_of(drawn.output, "\n"), 4);
  const auto row = nlohmann::json::parse(run("show set --row 3 --json").output);
  EXPECT_EQ(row["response"], "Response number 3");
  EXPECT_EQ(row["decoding"], "greedy");
  EXPECT_EQ(row["metadata"][1]["source"], "measured");
  expect("show set --row 30", 2, "rows 0 to 29");
  expect("show set --id 12", 2, "no row has the id 12");
  expect("show set --row 1 --random 2", 2, "excludes");
}

TEST_F(DataProgram, VerifyEndsWithTwoWhenThereIsAProblem) {
  expect("verify set", 0, "whole: shard-000000.h5 to shard-000004.h5");
  expect("verify set --audio", 2, "set/shard-000000.h5: row 0: no such recording: audio/0.wav");
  fs::resize_file(folder_ / "set/shard-000002.h5", 900);
  const auto damaged = run("verify set");
  EXPECT_EQ(damaged.code, 2);
  EXPECT_EQ(damaged.output.find("set/shard-000002.h5: "), 0u) << damaged.output;
  EXPECT_NE(damaged.output.find("4 of 5 shards are whole"), std::string::npos) << damaged.output;
  EXPECT_NE(damaged.output.find("whole: shard-000003.h5 to shard-000004.h5"), std::string::npos);
}

TEST_F(DataProgram, ExportsToAFileOrAPipe) {
  expect("export set rows.jsonl --layout desta2", 0, "30 rows in rows.jsonl");
  EXPECT_EQ(count_of(read_text(folder_ / "rows.jsonl"), "\n"), 30);
  expect("export set /dev/stdout --layout desta2.5 --select gender=Male --select pitch=Low", 0,
         "\"response\":\"Response number 3\"");
  EXPECT_TRUE(fs::is_symlink("/dev/stdout"));
}

TEST_F(DataProgram, MergesAndTellsWhatWasThereTwice) {
  write_described(folder_ / "other", 25, 10, 4);
  expect("merge both set other", 0, "other: 5 rows taken, 5 duplicates left out\nboth: 35 rows\n");
  expect("verify both", 0, "35 rows can be read");
  expect("merge both set other", 2, "both: is there already");
  expect("merge set set other", 2, "set: this is the input set");
}

TEST_F(DataProgram, BadInputIsOneLineThatNamesTheFile) {
  for (const char* command : {"stats", "show", "verify"}) {
    expect(std::string(command) + " missing", 2, "missing: no such folder");
  }
  fs::create_directory(folder_ / "empty");
  expect("stats empty", 2, "empty: no dataset here");
  expect("export set rows.jsonl --layout desta4", 2, "use desta2 or desta2.5");
  expect("export set rows.jsonl --layout desta2 --select gender", 2, "gender=Female");
  expect("export set rows.jsonl --layout desta2 --select gender=X", 2, "gender is Female, Male");
  expect("export set /dev/full --layout desta2", 1, "/dev/full: cannot write");
  expect("export set . --layout desta2", 1, "give a file");
  expect("export set /proc/none/rows.jsonl --layout desta2", 1, "/proc/none/rows.jsonl");
  expect("stats set --html /dev/full >/dev/null", 1, "/dev/full: cannot write: No space left");
  expect("stats set >/dev/full", 1, "standard output: cannot write: No space left");
  expect("merge /proc/none/out set", 1, "/proc/none");
  fs::resize_file(folder_ / "set/shard-000001.h5", 5000);
  for (const char* command : {"stats set", "show set", "merge out set",
                              "export set rows.jsonl --layout desta2"}) {
    expect(command, 2, "set/shard-000001.h5: a damaged dataset shard");
  }
  fs::remove(folder_ / "set/shard-000001.h5");
  datagen::set_version(folder_ / "set/shard-000000.h5", 4);
  expect("stats set", 2, "shard-000000.h5: a dataset shard of version 4; this program reads 1 to 3");
}

// Whatever the moment, the output is whole or not there, and the same command makes it whole.
TEST_F(DataProgram, AMergeThatIsKilledLeavesNoHalfDataset) {
  write_described(folder_ / "many", 100, 1500, 10);
  const std::string command = fmt::format("{} merge {}/out {}/set {}/many --rows-per-shard 10", kProgram,
                                          folder_.path().string(), folder_.path().string(),
                                          folder_.path().string());
  const fs::path parts = folder_ / ".out.merging";
  int killed = 0;
  for (const std::size_t shards : {0, 1, 10, 40, 100}) {
    if (kill_when(command, [&] { return fs::exists(parts) && datagen::list_shards(parts).size() >= shards; })) {
      ++killed;
      EXPECT_FALSE(fs::exists(folder_ / "out"));
    }
    fs::remove_all(folder_ / "out");  // one that was done before it could be killed
  }
  EXPECT_GE(killed, 3);
  const auto finished = run_command(command);
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_NE(finished.output.find("out: 1530 rows"), std::string::npos) << finished.output;
  expect("verify out", 0, "1530 rows can be read, the ids of 1530 were recomputed; 0 problems");
  EXPECT_FALSE(fs::exists(parts));
}

}  // namespace
}  // namespace desta::tests
