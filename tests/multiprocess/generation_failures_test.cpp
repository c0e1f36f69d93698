// What goes wrong while data are made: one line that says what to do, nothing that was done is lost.
#include "multiprocess/job_fixture.h"

#include "datagen/dataset.h"
#include "models/safetensors.h"
#include "models/tokenizer.h"

namespace desta::tests {
namespace {

class GenerationFailures : public JobTest {
 protected:
  static std::string arguments(const fs::path& data, const std::string& more = "") {
    return fmt::format("{} {} --set data.folder={} --set run.folder={} {}", bin("desta-datagen"),
                       config_.string(), data.string(), (data / "run").string(), more);
  }
  static std::map<std::string, std::string> rows_of(const fs::path& data) {
    std::map<std::string, std::string> rows;
    if (datagen::list_shards(data / "dataset/train").empty()) {
      return rows;
    }
    const auto dataset = datagen::Dataset::open(data / "dataset/train");
    dataset.for_each([&](std::size_t, const datagen::Row& row) {
      EXPECT_TRUE(rows.emplace(row.id, row.response).second) << "twice: " << row.id;
    });
    return rows;
  }
  static void expect_one_error(const Finished& finished, int code, const std::string& text) {
    expect_end(finished, code, text);
    EXPECT_EQ(count_of(finished.output, "] error: "), 1) << finished.output;
  }
  // A copy of the LLM, changed.
  static fs::path changed_llm(const std::string& name, const std::function<void(models::TensorMap&)>& change) {
    const fs::path copy = folder_ / name;
    fs::copy(folder_ / "llm", copy, fs::copy_options::recursive);
    auto tensors = models::load_safetensors(copy / "model.safetensors");
    change(tensors);
    models::save_safetensors(copy / "model.safetensors", tensors);
    return copy;
  }
};

TEST_F(GenerationFailures, AModelThatMakesNaNIsSaidAndWhatWasDoneIsKept) {
  const models::Tokenizer tokenizer(folder_ / "llm");
  const auto llm = changed_llm("nan", [&](models::TensorMap& tensors) {
    tensors.at("model.embed_tokens.weight")[tokenizer.find("Z").value()] = std::nan("");
  });
  const fs::path data = folder_ / "nan-data";
  const std::string more = fmt::format("--set models.llm={} --set generation.batch_size=1 --set generation.max_new_tokens=1", llm.string());
  // A text with a Z comes last; one token an answer, so that none that was drawn is read again.
  std::string manifest = read_text(folder_ / "manifest.jsonl");
  const auto last = manifest.rfind("transcription\":\"");
  ASSERT_NE(last, std::string::npos) << manifest;
  manifest.insert(last + std::string("transcription\":\"").size(), "Z. ");
  std::ofstream(folder_ / "z.jsonl") << manifest;
  const auto finished = run_command(
      mpirun(1, arguments(data, more + " --set data.train_manifest=" + (folder_ / "z.jsonl").string())));
  expect_one_error(finished, 2, "are its embeddings and the model's weights finite?");
  EXPECT_NE(finished.output.find(llm.string() + ": "), std::string::npos) << finished.output;
  EXPECT_EQ(rows_of(data).size(), 23u) << "published before the job ends";
}

struct Unmount {
  fs::path disk;
  ~Unmount() { ::umount2(disk.c_str(), MNT_DETACH); }
};

TEST_F(GenerationFailures, AFullDiskIsSaidAndTheSameCommandGoesOnWhereThereIsRoom) {
  const fs::path disk = folder_ / "disk";
  fs::create_directories(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=96k") != 0) {
    GTEST_SKIP() << "needs the right to mount a tmpfs";
  }
  const Unmount unmount{disk};
  const std::string more = "--set data.rows_per_shard=4 --set generation.batch_size=2";
  const fs::path data = disk / "data";
  const auto full = run_command(mpirun(2, arguments(data, more)));
  expect_one_error(full, 1, (data / "dataset/train/shard-00000").string());
  EXPECT_NE(full.output.find("free some space or choose another folder"), std::string::npos) << full.output;
  EXPECT_LT(rows_of(data).size(), 24u);
  ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, "size=64m"), 0);
  ASSERT_EQ(run_command(mpirun(2, arguments(data, more))).code, 0);
  const fs::path whole = folder_ / "whole";
  ASSERT_EQ(run_command(mpirun(1, arguments(whole, more))).code, 0);
  EXPECT_EQ(rows_of(data), rows_of(whole));
}

TEST_F(GenerationFailures, ADamagedShardIsNamedAndFilledInOnceItIsDeleted) {
  const fs::path data = folder_ / "damaged";
  const std::string more = "--set data.rows_per_shard=8";
  ASSERT_EQ(run_command(mpirun(1, arguments(data, more))).code, 0);
  const auto whole = rows_of(data);
  const fs::path shard = data / "dataset/train/shard-000001.h5";
  fs::resize_file(shard, fs::file_size(shard) / 2);
  const auto finished = run_command(mpirun(2, arguments(data, more)));
  expect_one_error(finished, 2, shard.string());
  EXPECT_NE(finished.output.find("delete it"), std::string::npos) << finished.output;
  fs::remove(shard);
  ASSERT_EQ(run_command(mpirun(2, arguments(data, more))).code, 0);
  EXPECT_TRUE(fs::exists(shard));
  EXPECT_EQ(rows_of(data), whole);
}

// Its texts would be others': it is told so, and the job goes on without it.
TEST_F(GenerationFailures, AWorkerWithOtherWeightsOrOtherDecodingIsRefused) {
  const auto llm = changed_llm("other", [](models::TensorMap& tensors) {
    tensors.at("model.norm.weight")[0] += 1;
  });
  const fs::path data = folder_ / "refusing";
  const fs::path socket = fs::temp_directory_path() / fmt::format("refusing-{}", ::getpid());
  const fs::path token = data / "run/join.token";
  // So many rows that two workers are surely refused before the last.
  constexpr int kPrompts = 160;
  std::vector<std::string> prompts;
  for (int i = 0; i < kPrompts; ++i) {
    prompts.push_back(fmt::format("'What can you hear in part {}?'", i));
  }
  const std::string slow = "--set generation.batch_size=1";
  Background job(mpirun(1, arguments(data, fmt::format("{} --set runtime.join=unix:{} --set \"prompts=[{}]\"", slow,
                                                       socket.string(), fmt::join(prompts, ", ")))));
  ASSERT_TRUE(job.wait_until([&] { return fs::exists(token) && fs::exists(socket); })) << job.output();
  const std::string join = fmt::format("--join unix:{} --token-file {}", socket.string(), token.string());
  expect_one_error(run_command(arguments(data, fmt::format("--set models.llm={} {}", llm.string(), join))), 1,
                   "models.llm");
  expect_one_error(run_command(arguments(data, "--set generation.temperature=0.1 " + join)), 1,
                   "temperature=0.1");
  while (!job.ended()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_EQ(job.code(), 0) << job.output();
  EXPECT_EQ(rows_of(data).size(), 24u * kPrompts);
}

}  // namespace
}  // namespace desta::tests
