// Models trained from scratch: what desta-pretrain writes, and what it says of bad input.
#include "multiprocess/job_fixture.h"

#include "models/llama.h"
#include "models/safetensors.h"
#include "models/tokenizer.h"
#include "models/whisper.h"

namespace desta::tests {
namespace {

class Pretrain : public JobTest {
 protected:
  // A few small steps, without a look at the quality.
  static std::string pretrain(const std::string& model, const fs::path& output, const fs::path& work,
                              const std::string& more = "") {
    return fmt::format("{} {} --output {} --work {} --steps 4 --batch-size 2 --save-every 1 --evaluate-every 0 {}",
                       bin("desta-pretrain"), model, output.string(), work.string(), more);
  }
  // A finished language model, and beside it the state of its training in "work".
  static const fs::path& language_model() {
    static const fs::path output = [] {
      const fs::path folder = folder_ / "pretrained/llm";
      const auto finished = run_command(pretrain("llm", folder, folder.parent_path() / "work"));
      expect_end(finished, 0, "from step 0 of 4");
      return folder;
    }();
    return output;
  }
  static fs::path copy_of_work(const std::string& name) {
    const fs::path copy = folder_ / name;
    fs::copy(language_model().parent_path() / "work", copy, fs::copy_options::recursive);
    return copy;
  }
};

TEST_F(Pretrain, ALanguageModelIsAHuggingFaceFolder) {
  const fs::path& folder = language_model();
  const auto config = models::LlamaConfig::load(folder);
  EXPECT_EQ(models::Tokenizer(folder).vocab_size(), config.vocab_size);
  models::ModelFolder source(folder, at::kBFloat16);
  const models::Llama llama(config, models::LlamaPart::whole(config), source);
  const at::Tensor logits = llama.logits(llama.run_layers(llama.embed(at::tensor({1, 2, 3}, at::kLong).view({1, 3}))));
  EXPECT_EQ(logits.size(-1), config.vocab_size);
  EXPECT_TRUE(at::isfinite(logits).all().item<bool>());
}

TEST_F(Pretrain, KilledAndStartedAgainItEndsWithTheSameBytes) {
  const fs::path folder = folder_ / "killed/llm";
  const fs::path work = folder_ / "killed/work";
  fs::create_directories(folder);
  fs::copy(language_model() / "tokenizer.json", folder / "tokenizer.json");
  ASSERT_TRUE(kill_when(pretrain("llm", folder, work), [&] { return fs::exists(work / "state/state.json"); }));
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));
  const auto finished = run_command(pretrain("llm", folder, work));
  ASSERT_EQ(finished.code, 0) << finished.output;
  EXPECT_EQ(finished.output.find("from step 0 of"), std::string::npos) << finished.output;
  for (const char* name : {"model.safetensors", "config.json"}) {
    EXPECT_TRUE(read_text(folder / name) == read_text(language_model() / name)) << name;
  }
}

TEST_F(Pretrain, ASpeechModelIsAHuggingFaceFolder) {
  const fs::path folder = folder_ / "pretrained/speech";
  expect_end(run_command(pretrain("speech", folder, folder_ / "pretrained/speech-work")), 0, "finished");
  const auto config = models::WhisperConfig::load(folder);
  EXPECT_EQ(models::Tokenizer(folder).vocab_size(), config.vocab_size);
  models::ModelFolder source(folder, at::kBFloat16);
  const models::WhisperEncoder encoder(config, models::EncoderPart::whole(config), source, true);
  const models::WhisperDecoder decoder(config, source);
}

TEST_F(Pretrain, BadInputIsOneLineThatSaysWhere) {
  const auto expect_line = [&](const std::string& command, const std::string& text) {
    const auto finished = run_command(command);
    expect_end(finished, 2, text);
    EXPECT_LE(count_of(finished.output, "\n"), 2) << "one line, and where to find help:\n" << finished.output;
  };
  const fs::path& llm = language_model();
  const fs::path fresh = folder_ / "fresh";
  for (const char* option : {"--save-every", "--learning-rate"}) {
    expect_line(fmt::format("{} llm --output {} --work {} {} 0", bin("desta-pretrain"), llm.string(), fresh.string(),
                            option),
                fmt::format("{}: '0' should be a number of more than 0\n", option));
  }
  expect_line(fmt::format("{} llm --output {} --work {} --evaluate-every=-1", bin("desta-pretrain"), llm.string(),
                          fresh.string()),
              "'-1' should be a number of 0 or more\n");
  expect_line(pretrain("sound", llm, fresh), "sound");
  EXPECT_FALSE(fs::exists(fresh));
  const fs::path state = copy_of_work("damaged") / "state/state.json";
  fs::resize_file(state, fs::file_size(state) / 2);
  const auto damaged = run_command(pretrain("llm", llm, folder_ / "damaged"));
  expect_end(damaged, 2, state.string() + ": damaged: ");
  EXPECT_NE(damaged.output.find("to start over"), std::string::npos) << damaged.output;
  std::ofstream(state) << R"({"task": "another", "step": 1, "updates": 1})";
  expect_line(pretrain("llm", llm, folder_ / "damaged"), "holds the state of 'another'");
  const fs::path parameters = copy_of_work("cut") / "state/parameters.safetensors";
  models::save_safetensors(parameters, {{"another", at::zeros({2})}});
  expect_end(run_command(pretrain("llm", llm, folder_ / "cut")), 2,
             parameters.string() + ": not of the model in " + llm.string());
}

}  // namespace
}  // namespace desta::tests
