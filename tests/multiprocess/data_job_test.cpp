// Making data, evaluating and asking, with the real programs.
#include "multiprocess/job_fixture.h"

#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <sstream>

#include "datagen/acoustics.h"
#include "datagen/audio_file.h"
#include "datagen/dataset.h"
#include "datagen/metadata.h"
#include "runtime/core/file_lock.h"

namespace desta::tests {
namespace {

class DataJob : public JobTest {
 protected:
  static std::string datagen(const fs::path& data, const std::string& more = "", int ranks = 1) {
    return mpirun(ranks, fmt::format("{} {} --set data.folder={} {}", bin("desta-datagen"),
                                     config_.string(), data.string(), more));
  }
  static std::map<std::string, datagen::Row> rows_of(const fs::path& data) {
    const auto dataset = datagen::Dataset::open(data / "dataset/train");
    std::map<std::string, datagen::Row> rows;
    for (std::size_t i = 0; i < dataset.size(); ++i) {
      EXPECT_TRUE(rows.emplace(dataset.id(i), dataset.row(i)).second) << "twice: " << dataset.id(i);
    }
    return rows;
  }
  // A run of two steps: something to evaluate and to ask.
  static const fs::path& trained() {
    static const fs::path run = [] {
      const fs::path folder = folder_ / "trained";
      const auto finished = run_command(train(folder, 1, 1, "--set training.steps=2"));
      EXPECT_EQ(finished.code, 0) << finished.output;
      return folder;
    }();
    return run;
  }
  static Finished chat(const fs::path& audio, const std::string& more = "") {
    return run_command(fmt::format("{} --config {} --set run.folder={} --audio {} --max-new-tokens 8 {}",
                                   bin("desta-chat"), config_.string(), trained().string(),
                                   audio.string(), more));
  }
};

TEST_F(DataJob, TheSameCommandTwiceWritesNothingNew) {
  const fs::path data = folder_ / "twice";
  ASSERT_EQ(run_command(datagen(data)).code, 0);
  const auto rows = rows_of(data);
  EXPECT_EQ(rows.size(), 24u);
  for (const auto& [id, row] : rows) {
    EXPECT_EQ(id, datagen::row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator,
                                   row.seed, row.decoding))
        << "a row says what its id is made of";
  }
  std::map<fs::path, fs::file_time_type> before;
  for (const auto& shard : datagen::list_shards(data / "dataset/train")) {
    before[shard] = fs::last_write_time(shard);
  }
  expect_end(run_command(datagen(data)), 0, "24 rows are there, 0 to write");
  std::map<fs::path, fs::file_time_type> after;
  for (const auto& shard : datagen::list_shards(data / "dataset/train")) {
    after[shard] = fs::last_write_time(shard);
  }
  EXPECT_EQ(after, before);
}

TEST_F(DataJob, AnotherPromptMeasuresNothingAnew) {
  const fs::path data = folder_ / "measured-once";
  const auto first = run_command(datagen(data));
  ASSERT_EQ(first.code, 0) << first.output;
  EXPECT_EQ(first.output.find("measured before"), std::string::npos) << first.output;
  const auto rows = rows_of(data);
  const fs::path wav = folder_ / "audio/05.wav";
  const auto before = fs::last_write_time(wav);
  fs::last_write_time(wav, before + std::chrono::seconds(1));
  const auto second = run_command(datagen(data, "--set 'prompts=[\"Who speaks?\"]'"));
  fs::last_write_time(wav, before);
  const auto files = static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_ / "audio"), {}));
  expect_end(second, 0, fmt::format("train: {} recordings were measured before, 1 to measure", files - 1));
  const auto more = rows_of(data);
  EXPECT_EQ(more.size(), 2 * rows.size());
  std::map<std::string, std::set<std::string>> metadata;
  for (const auto& [id, row] : more) {
    metadata[row.audio_filepath].insert(row.metadata_json);
  }
  EXPECT_EQ(metadata.size(), files);
  for (const auto& [audio, known] : metadata) {
    EXPECT_EQ(known.size(), 1u) << audio << ": to the bit";
  }
}

TEST_F(DataJob, KilledAndStartedAgainHasEachRowOnceAndTheSameRows) {
  const std::string small = "--set data.rows_per_shard=2 --set generation.batch_size=1 "
                            "--set generation.max_new_tokens=60";
  const fs::path whole = folder_ / "whole";
  ASSERT_EQ(run_command(datagen(whole, small, 2)).code, 0);
  const fs::path data = folder_ / "killed";
  const auto shards = [&] { return datagen::list_shards(data / "dataset/train").size(); };
  for (const std::size_t count : {1, 4}) {
    ASSERT_TRUE(kill_when(datagen(data, small, 2), [&] { return shards() >= count; }));
    EXPECT_LT(rows_of(data).size(), 24u) << "killed too late to prove anything";
  }
  const auto finished = run_command(datagen(data, small, 2));
  ASSERT_EQ(finished.code, 0) << finished.output;
  const auto rows = rows_of(data);
  EXPECT_EQ(rows.size(), 24u);
  EXPECT_TRUE(rows == rows_of(whole)) << "a response depends on its row alone";
}

// Which rows are answered together is chance (who was free, what was there already): neither batch
// nor neighbours may show in a response, even where answers run into the end of the context.
TEST_F(DataJob, AResponseDoesNotDependOnItsBatch) {
  const auto rows_with = [](int batch) {
    const fs::path data = folder_ / fmt::format("batch-{}", batch);
    const auto finished = run_command(datagen(
        data, fmt::format("--set generation.batch_size={} --set generation.max_new_tokens=200", batch)));
    EXPECT_EQ(finished.code, 0) << finished.output;
    return rows_of(data);
  };
  const auto alone = rows_with(1);
  const auto together = rows_with(24);
  ASSERT_EQ(alone.size(), 24u);
  int same = 0;
  for (const auto& [id, row] : alone) {
    same += together.at(id).response == row.response ? 1 : 0;
  }
  EXPECT_EQ(same, 24);
}

TEST_F(DataJob, ABadManifestLineIsNamedAndTheRestIsKept) {
  const fs::path manifest = folder_ / "bad.jsonl";
  const std::string good = read_text(folder_ / "manifest.jsonl");
  const auto end = good.find('\n') + 1;
  std::ofstream(manifest) << good.substr(0, end) << "{\"audio_filepath\": \n" << good.substr(end)
                          << "{\"audio_filepath\": \"audio/absent.wav\", \"transcription\": \"x\"}\n";
  const fs::path data = folder_ / "bad-line";
  const auto finished = run_command(datagen(data, "--set data.train_manifest=" + manifest.string()));
  expect_end(finished, 0, manifest.string() + ":2");
  EXPECT_NE(finished.output.find("absent.wav"), std::string::npos) << finished.output;
  EXPECT_EQ(rows_of(data).size(), 24u);
}

TEST_F(DataJob, PublishedAnswersAreTakenAsTheyAre) {
  const fs::path published = folder_ / "published.jsonl";
  std::ofstream(published)
      << R"({"audio_filepath": "a.wav", "transcription": "Yo.", "input": "What?", "target": "A man.", "duration": 2, "gender": "Male"})"
      << "\nbroken\n";
  const fs::path data = folder_ / "imported";
  const std::string import = "--import " + published.string() + " --generator llama";
  expect_end(run_command(datagen(data, import, 2)), 0, published.string() + ":2");
  const auto rows = rows_of(data);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows.begin()->second.prompt, "What?");
  EXPECT_EQ(rows.begin()->second.response, "A man.");
  EXPECT_EQ(rows.begin()->second.generator, "llama");
  expect_end(run_command(datagen(data, import)), 0, "0 rows taken from");
  const fs::path untouched = folder_ / "not-imported";
  expect_end(run_command(datagen(untouched, import + " --dry-run")), 0, published.string());
  EXPECT_FALSE(fs::exists(untouched));
  expect_end(run_command(datagen(data, "--generator llama")), 2, "--import");
  expect_end(run_command(datagen(data, import + " --join 127.0.0.1:1")), 2, "--import excludes --join");
  expect_end(run_command(datagen(data, "--import /absent.jsonl")), 2, "/absent.jsonl");
}

TEST_F(DataJob, WhatStricterFiltersWouldRejectStaysAndIsNotLearnedFrom) {
  const fs::path data = folder_ / "stricter";
  ASSERT_EQ(run_command(datagen(data)).code, 0);
  // What the random model wrote hangs on the processor: the same rows with texts of 1 to 24 words stand for it.
  const auto rows = rows_of(data);
  ASSERT_EQ(rows.size(), 24u);
  for (const auto& shard : datagen::list_shards(data / "dataset/train")) {
    fs::remove(shard);
  }
  datagen::DatasetWriter writer(data / "dataset/train");
  for (std::string text; const auto& [id, row] : rows) {
    text += "word ";
    datagen::Row written = row;
    written.response = text;
    writer.append(std::move(written));
  }
  writer.finish();
  const std::string filters = "--set filters.min_words=16";
  expect_end(run_command(datagen(data, filters)), 0,
             "filters.min_words took out 15 of 24 (15 of them were written before: they stay");
  EXPECT_EQ(rows_of(data).size(), 24u);
  const auto trained = [&](const std::string& more) {
    return run_command(train(folder_ / "stricter-run", 1, 2,
                             fmt::format("--set data.folder={} --set training.steps=1 --set batch.global_size=4 {}",
                                         data.string(), more)));
  };
  expect_end(trained(filters), 0,
             fmt::format("15 of 24 rows of {} do not pass today's filters and are not learned from (min_words 15)",
                         (data / "dataset/train").string()));
  expect_end(trained("--set filters.min_words=10000"), 2, "0 rows of 24 that pass the filters are fewer than");
}

TEST_F(DataJob, ImportingWaitsForAnotherJobThatWritesTheDataset) {
  const fs::path published = folder_ / "answers.jsonl";
  std::ofstream(published)
      << R"({"audio_filepath": "a.wav", "transcription": "Yo.", "input": "What?", "target": "A man.", "duration": 2})"
      << "\n";
  const fs::path data = folder_ / "imported-in-turn";
  auto lock = runtime::FileLock::try_take(data / "dataset/train/lock");
  ASSERT_TRUE(lock);
  Background import(datagen(data, "--import " + published.string() + " --generator llama"));
  ASSERT_TRUE(import.wait_until([&] { return import.output().find("another job holds") != std::string::npos; }))
      << import.output();
  EXPECT_TRUE(datagen::list_shards(data / "dataset/train").empty());
  lock.reset();
  (void)import.wait_until([] { return false; });
  EXPECT_EQ(import.code(), 0) << import.output();
  EXPECT_EQ(rows_of(data).size(), 1u);
}

// The annotated gender stays; the age, which nobody stated, is the model's, and the room the impulse response's.
TEST_F(DataJob, ModelsAndImpulseResponsesTellWhatNobodyAnnotated) {
  const std::string model = fs::absolute(DESTA_SOURCE_DIR "/models/stand-ins/attributes/model.pt");
  const fs::path card = folder_ / "card.yaml";
  const auto write_card = [&](const std::string& young) {
    std::ofstream(card) << "name: ages\nsource: a test\nmodel: " << model
                        << "\ninput: {kind: log-mel, bins: 80, seconds: 4}\noutputs:\n"
                        << "  gender: [Female, Male]\n  age: [" << young << ", Adult, Elderly]\n";
  };
  write_card("Young");
  runtime::Random random(3);
  auto room = datagen::make_impulse_response(4.0, 16000, random);
  const float loudest = std::abs(*std::ranges::max_element(room, {}, [](float x) { return std::abs(x); }));
  std::ranges::transform(room, room.begin(), [&](float x) { return 0.9F * x / loudest; });
  datagen::write_wav(folder_ / "room.wav", {room, 16000});
  std::string lines;
  std::istringstream manifest(read_text(folder_ / "manifest.jsonl"));
  for (std::string line; std::getline(manifest, line);) {
    auto row = nlohmann::json::parse(line);
    row["impulse_response"] = "room.wav";
    lines += row.dump() + "\n";
  }
  std::ofstream(folder_ / "rooms.jsonl") << lines;
  const auto made = [&](const std::string& name) {
    const auto finished = run_command(datagen(
        folder_ / name, fmt::format("--set metadata.models=[{}] --set data.train_manifest={} --set "
                                    "'metadata.attributes=[gender, age, reverberation]'",
                                    card.string(), (folder_ / "rooms.jsonl").string()), 2));
    EXPECT_EQ(finished.code, 0) << finished.output;
    return rows_of(folder_ / name);
  };
  const auto rows = made("modelled");
  EXPECT_EQ(rows.size(), 24u);
  for (const auto& [id, row] : rows) {
    const auto metadata = datagen::metadata_from_json(nlohmann::json::parse(row.metadata_json));
    EXPECT_EQ(find_attribute(metadata, "gender")->source, datagen::Source::kAnnotated);
    const auto* age = find_attribute(metadata, "age");
    ASSERT_NE(age, nullptr);
    EXPECT_EQ(age->source, datagen::Source::kModel);
    EXPECT_TRUE(age->origin.starts_with("ages@")) << age->origin;
    EXPECT_GT(age->confidence, 0.3);
    EXPECT_NE(row.seed_transcript.find(fmt::format("Age: {}, Reverberation(C50): 4dB", age->word)),
              std::string::npos)
        << row.seed_transcript;
    EXPECT_EQ(find_attribute(metadata, "reverberation")->origin, "impulse response");
  }
  // Another card is another model, whatever it says.
  write_card("Youthful");
  const auto origin_of = [](const std::map<std::string, datagen::Row>& all) {
    const auto metadata =
        datagen::metadata_from_json(nlohmann::json::parse(all.begin()->second.metadata_json));
    return find_attribute(metadata, "age")->origin;
  };
  EXPECT_NE(origin_of(made("modelled-again")), origin_of(rows));
  fs::remove(card);
  expect_end(run_command(datagen(folder_ / "no-card", "--set metadata.models=[" + card.string() + "]")), 2,
             card.string());
}

TEST_F(DataJob, WithoutSpeechThereIsNothingToMakeDataFrom) {
  expect_end(run_command(datagen(folder_ / "none", "--set data.train_manifest=")), 2,
             "data.train_manifest is empty");
  expect_end(run_command(datagen(folder_ / "none", "--set data.train_manifest=/absent/m.jsonl")), 2,
             "/absent/m.jsonl");
}

TEST_F(DataJob, AnEvaluationHasEveryReferenceForEveryTask) {
  // Retention compares with the generator's own rows: long enough that a random model writes a zero
  // byte into some of them, which a dataset cannot hold.
  const fs::path data = folder_ / "retention";
  const std::string longer = "--set generation.max_new_tokens=60";
  ASSERT_EQ(run_command(datagen(data, longer)).code, 0);
  const auto finished = run_command(mpirun(
      2, fmt::format("{} {} {} --set evaluation.retention_rows=24 --set run.folder={} "
                     "--set data.folder={}",
                     bin("desta-eval"), config_.string(), longer, trained().string(),
                     data.string())));
  ASSERT_EQ(finished.code, 0) << finished.output;
  const auto report = nlohmann::json::parse(read_text(trained() / "evaluation.json"));
  for (const char* task : {"gender", "words"}) {
    const auto& score = report.at("tasks").at(task);
    EXPECT_EQ(score.at("n"), 24) << task;
    for (const char* way : {"accuracy", "majority", "transcription_only", "ceiling"}) {
      EXPECT_GE(score.at(way), 0.0) << task << " " << way;
      EXPECT_LE(score.at(way), 1.0) << task << " " << way;
    }
  }
  // Every question with its answers, in the manifest's order.
  std::istringstream lines(read_text(trained() / "answers.jsonl"));
  std::vector<std::string> genders;
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto answer = nlohmann::json::parse(line);
    EXPECT_TRUE(answer.contains("answer") && answer.contains("ceiling")) << line;
    if (answer.at("task") == "gender") {
      genders.push_back(answer.at("audio"));
    }
  }
  EXPECT_EQ(count, 24 * (2 + 3)) << "two tasks and three formats";
  EXPECT_TRUE(std::is_sorted(genders.begin(), genders.end())) << "the clips are numbered";
  // The manifest has as many men as women, and each of its four sentences six times.
  EXPECT_DOUBLE_EQ(report["tasks"]["gender"]["majority"], 0.5);
  EXPECT_DOUBLE_EQ(report["tasks"]["words"]["majority"], 0.25);
  EXPECT_EQ(report.at("retention").at("n"), 24);
  EXPECT_EQ(report.at("retention").at("same"), 24) << finished.output;
}

TEST_F(DataJob, TwoEvaluationSetsOfOneNameAreRefusedBeforeAnythingIsLoaded) {
  expect_end(run_command(mpirun(1, fmt::format("{} {} --set run.folder={} "
                                               "--set 'evaluation.manifests=[/a/one.jsonl, /b/one.jsonl]'",
                                               bin("desta-eval"), config_.string(),
                                               trained().string()))),
             2, "two sets would be called 'one'");
}

// One second of a tone, 48 kHz stereo.
void write_flac(const fs::path& path) {
  SF_INFO info{};
  info.samplerate = 48000;
  info.channels = 2;
  info.format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  std::vector<float> samples(2 * 48000);
  for (std::size_t t = 0; t < 48000; ++t) {
    samples[2 * t] = samples[2 * t + 1] =
        static_cast<float>(0.3 * std::sin(2 * M_PI * 220.0 * static_cast<double>(t) / 48000));
  }
  sf_writef_float(file, samples.data(), 48000);
  sf_close(file);
}

TEST_F(DataJob, ChatAnswersAboutWavAndStereoFlac) {
  const auto wav = chat(folder_ / "audio/03.wav");
  EXPECT_EQ(wav.code, 0) << wav.output;
  EXPECT_FALSE(wav.output.empty());
  write_flac(folder_ / "tone.flac");
  const auto flac = chat(folder_ / "tone.flac", "'Who speaks?'");
  EXPECT_EQ(flac.code, 0) << flac.output;
  EXPECT_FALSE(flac.output.empty());
  EXPECT_EQ(chat(folder_ / "audio/03.wav").output, wav.output) << "greedy answers repeat";
}

TEST_F(DataJob, ChatSaysWhatIsWrongWithARecording) {
  std::ofstream(folder_ / "corrupt.wav") << "RIFF and then nothing that is audio";
  std::ofstream(folder_ / "empty.wav").flush();
  for (const char* name : {"corrupt.wav", "empty.wav", "absent.wav"}) {
    const auto finished = chat(folder_ / name);
    expect_end(finished, 2, (folder_ / name).string());
    EXPECT_LE(count_of(finished.output, "\n"), 1) << "one line: " << finished.output;
  }
}

TEST_F(DataJob, ChatSaysWhatIsWrongWithAnAdapter) {
  const fs::path adapter = folder_ / "cut.safetensors";
  const auto whole = read_text(newest(trained()) / "adapter.safetensors");
  std::ofstream(adapter, std::ios::binary) << whole.substr(0, whole.size() / 2);
  expect_end(chat(folder_ / "audio/03.wav", "--adapter " + adapter.string()), 2, adapter.string());
  expect_end(chat(folder_ / "audio/03.wav", "--adapter /absent.safetensors"), 2, "/absent.safetensors");
}

}  // namespace
}  // namespace desta::tests
