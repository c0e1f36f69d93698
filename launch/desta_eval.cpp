// desta-eval: asks a trained model about held-out recordings and compares with three references.
#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>

#include "actors/evaluator_actor.h"
#include "actors/extractor_actor.h"
#include "actors/work_pool.h"
#include "datagen/attribute_model.h"
#include "datagen/dataset.h"
#include "datagen/instruction_corpus.h"
#include "launch/measured_manifest.h"
#include "launch/actor_job.h"
#include "launch/program.h"
#include "launch/synthetic_sets.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/log.h"
#include "runtime/core/progress.h"
#include "runtime/core/stop_request.h"
#include "trainer/checkpoint.h"
#include "trainer/text_ability.h"

namespace {

using namespace desta;
using launch::Job;
using launch::JobConfig;
using Evaluators = std::vector<runtime::ActorRef<actors::EvaluatorActor>>;

constexpr std::size_t kPiece = 8;         // clips an evaluator works on at a time
constexpr std::uint64_t kTextSeed = 77;  // of the questions on text alone: the same for every model

// "held-out" for speech/held-out/manifest.jsonl, the file's own name for any other.
std::string set_name(const std::filesystem::path& manifest) {
  return manifest.filename() == "manifest.jsonl" && manifest.has_parent_path()
             ? manifest.parent_path().filename().string()
             : manifest.stem().string();
}

// Nothing when this process was asked to stop meanwhile.
std::optional<std::vector<trainer::EvaluationRecord>> evaluate(
    Evaluators& evaluators, const std::string& name, const std::vector<launch::MeasuredRow>& rows) {
  const std::size_t pieces = (rows.size() + kPiece - 1) / kPiece;
  std::vector<std::vector<trainer::EvaluationRecord>> by_piece(pieces);
  runtime::ProgressBar bar("asking about " + name, rows.size());
  std::size_t done = 0;
  const bool whole = actors::pull_work<std::vector<trainer::EvaluationRecord>>(
      [&] { return evaluators.size(); }, pieces,
      [&](std::size_t worker, std::size_t piece) {
        std::vector<actors::ClipMessage> clips;
        for (std::size_t i = piece * kPiece; i < std::min(rows.size(), (piece + 1) * kPiece); ++i) {
          clips.push_back({rows[i].audio, rows[i].transcription, rows[i].duration,
                           datagen::metadata_to_json(rows[i].metadata).dump()});
        }
        return evaluators[worker].call<&actors::EvaluatorActor::evaluate>(clips);
      },
      [&](std::size_t piece, std::vector<trainer::EvaluationRecord> part) {
        by_piece[piece] = std::move(part);
        done = std::min(rows.size(), done + kPiece);
        bar.update(done);
      },
      [] { return runtime::stop_is_due(); });
  if (!whole) {
    return std::nullopt;
  }
  std::vector<trainer::EvaluationRecord> records;  // in the manifest's order
  for (auto& part : by_piece) {
    std::move(part.begin(), part.end(), std::back_inserter(records));
  }
  return records;
}

// A line of answers.jsonl.
std::string to_line(const nlohmann::ordered_json& answer) {
  return answer.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// The dataset's responses were written before training. The LLM of this evaluation writes them again:
// the same texts, unless the LLM itself has learned (train.what: lora).
nlohmann::ordered_json retention(const JobConfig& config, Evaluators& evaluators) {
  const auto dataset = datagen::Dataset::open(config.dataset_folder("train"));
  const std::string generator = launch::generator_name(config);
  std::vector<datagen::TextRequest> requests;
  std::vector<std::string> before;
  std::vector<std::string> ids;
  for (std::size_t i = 0;
       i < dataset.size() && std::ssize(ids) < config.evaluation.retention_rows; ++i) {
    const auto row = dataset.row(i);
    const bool answered_alike =
        row.id == datagen::row_key(row.audio_filepath, row.seed_transcript, row.prompt, generator,
                                   row.seed, config.data.decoding.describe());
    if (!answered_alike) {
      continue;  // another model, other settings, or a published answer
    }
    ids.push_back(row.id);
    requests.push_back({datagen::generator_prompt(row.seed_transcript, row.prompt),
                        datagen::sampling_seed(row)});
    before.push_back(row.response);
  }
  const auto after = evaluators.front().call<&actors::EvaluatorActor::answer>(requests).get();
  std::size_t same = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (after[i] == before[i]) {
      ++same;
    } else {
      runtime::log().warn("retention: row {}: '{}' before training, '{}' now", ids[i],
                          before[i], after[i]);
    }
  }
  runtime::log().info("retention: {} of {} text-only answers are the same as before training", same,
                      ids.size());
  return {{"same", same}, {"n", ids.size()}};
}

// What the LLM can do with text alone, and the lines that its answers make in answers.jsonl.
nlohmann::ordered_json text_ability(const JobConfig& config, Evaluators& evaluators,
                                    std::string& lines) {
  const auto records = trainer::ask_text_questions(
      config.evaluation.text_questions, kTextSeed, [&](const std::vector<std::string>& turns) {
        return evaluators.front().call<&actors::EvaluatorActor::answer_greedily>(turns).get();
      });
  std::int64_t right = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    right += records[i].right ? 1 : 0;
    lines += to_line({{"set", "text"},
                      {"task", records[i].kind},
                      {"audio", fmt::format("scene {}", i)},
                      {"question", records[i].question},
                      {"label", records[i].expected},
                      {"answer", records[i].answer},
                      {"right", records[i].right}});
  }
  const double share = static_cast<double>(right) / static_cast<double>(records.size());
  runtime::log().info("text alone: {} of {} questions are answered right ({:.1f}%)", right,
                      records.size(), 100 * share);
  return {{"accuracy", share}, {"right", right}, {"n", records.size()}};
}

// One object a line: every question of a set with all its answers.
std::string answer_lines(const std::string& set,
                         const std::vector<trainer::EvaluationRecord>& records) {
  std::string lines;
  for (const auto& record : records) {
    lines += to_line({{"set", set},
                      {"task", record.task},
                      {"audio", record.audio},
                      {"question", record.question},
                      {"label", record.label},
                      {"answer", record.speech},
                      {"right", trainer::is_right(record, record.speech)},
                      {"transcription_only", record.transcription_only},
                      {"ceiling", record.ceiling}});
  }
  return lines;
}

// Three tasks, each on a clip of its own.
void print_examples(const std::vector<trainer::EvaluationRecord>& records) {
  fmt::print("Examples\n");
  std::set<std::string> tasks;
  std::set<std::string> clips;
  for (const auto& record : records) {
    if (record.label.empty() || tasks.contains(record.task) || clips.contains(record.audio)) {
      continue;
    }
    tasks.insert(record.task);
    clips.insert(record.audio);
    fmt::print("  {}\n    Q: {}\n    A: {}   (label: {})\n", record.audio, record.question,
               record.speech, record.label);
    if (tasks.size() == 3) {
      return;
    }
  }
}

void run(Job& job, const std::string& given_adapter) {
  JobConfig& config = job.config;
  std::vector<std::string> manifests = config.evaluation.manifests;
  if (manifests.empty() && config.data.synthetic.enabled) {
    for (const auto& set : launch::synthetic_sets(config)) {
      if (set.held_out) {
        manifests.push_back((config.speech_folder(set.name) / "manifest.jsonl").string());
      }
    }
  }
  const auto& extra = config.evaluation.extra_manifests;
  manifests.insert(manifests.end(), extra.begin(), extra.end());
  if (manifests.empty()) {
    throw runtime::ConfigError("evaluation.manifests is empty: name at least one manifest");
  }
  std::set<std::string> names;
  for (const auto& manifest : manifests) {
    if (!names.insert(set_name(manifest)).second) {
      throw runtime::ConfigError("evaluation.manifests: two sets would be called '{}' ({} is the second); "
                                 "put one in a folder or file of another name",
                                 set_name(manifest), manifest);
    }
  }
  const std::string adapter = given_adapter.empty()
                                  ? trainer::newest_adapter(config.training.folder).string()
                                  : given_adapter;
  if (job.dry_run && job.mpi.rank() != 0) {
    return;
  }
  if (job.dry_run) {
    fmt::print("adapter {}, {} manifests, {} evaluators\n", adapter, manifests.size(),
               job.mpi.size());
    return;
  }
  actors::register_extractor_actor();
  actors::register_evaluator_actor();
  actors::EvaluatorOptions options;
  options.training = config.training;
  options.seeds = launch::seed_options(config);
  options.tasks = config.evaluation.tasks;
  options.decoding.max_new_tokens = config.evaluation.max_new_tokens;
  auto models = datagen::load_attribute_models(config.data.metadata.models);
  launch::run_actors(
      job,
      [&](runtime::ActorSystem& system) {
        system.provide<datagen::AttributeModels>(models);
        system.provide<actors::EvaluatorOptions>(options);
        system.provide<datagen::DecodingOptions>(config.data.decoding);
        system.provide<datagen::MetadataOptions>(config.data.metadata);
      },
      [&](runtime::ActorSystem& system) {
        Evaluators evaluators;
        for (int node = 0; node < system.node_count(); ++node) {
          evaluators.push_back(system.spawn<actors::EvaluatorActor>(
              {.name = fmt::format("evaluator/{}", node), .node = node, .own_thread = true},
              adapter));
        }
        for (auto& evaluator : evaluators) {
          evaluator.ready().get();
        }
        nlohmann::ordered_json report = {{"adapter", adapter}};
        std::string tables;
        std::string answers;
        std::vector<trainer::EvaluationRecord> examples;
        for (const auto& manifest : manifests) {
          const std::string name = set_name(manifest);
          const auto rows =
              launch::measure_manifest(system, name, manifest, config.data.metadata);
          const auto asked = evaluate(evaluators, name, rows);
          if (!asked.has_value()) {
            job.preempted = true;
            return;
          }
          const auto& records = *asked;
          const auto summary = trainer::summarise(records);
          tables += summary.to_text("Held-out set: " + name);
          answers += answer_lines(name, records);
          // The first set stands at the top level, all under their names.
          report["sets"][name] = summary.to_json();
          if (examples.empty()) {
            examples = records;
            const auto json = summary.to_json();
            report["tasks"] = json["tasks"];
            report["average"] = json["average"];
            report["instruction_following"] = json["instruction_following"];
          }
        }
        if (config.evaluation.retention_rows > 0 &&
            std::filesystem::exists(config.dataset_folder("train"))) {
          report["retention"] = retention(config, evaluators);
        }
        if (config.evaluation.text_questions > 0) {
          report["text"] = text_ability(config, evaluators, answers);
        }
        const std::filesystem::path folder = config.training.folder;
        const auto path = folder / "evaluation.json";
        runtime::write_file_atomically(folder / "answers.jsonl", answers);
        runtime::write_file_atomically(path, report.dump(2) + "\n");
        fmt::print("\n{}\n", tables);
        print_examples(examples);
        fmt::print("\nWritten: {} (this evaluation), {} (every answer), {} (the adapter)\n",
                   path.string(), (folder / "answers.jsonl").string(), adapter);
      });
}

}  // namespace

int main(int argc, char** argv) {
  launch::Program program("desta-eval",
                          "asks a trained model about recordings it never heard, beside three "
                          "references:\nthe majority class, the LLM with the transcription only, and "
                          "the LLM with the true seed transcript.");
  std::string adapter;
  program.app().add_option("--adapter", adapter,
                           "an adapter.safetensors (default: the run's newest checkpoint)");
  return program.run(argc, argv, [&](Job& job) { run(job, adapter); });
}
