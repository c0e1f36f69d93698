// desta-datagen: makes the training data. Speech (synthetic, or from manifests) is measured, written
// out as seed transcripts, and described by the frozen LLM.
#include <algorithm>
#include <set>

#include "actors/dataset_actor.h"
#include "actors/generator_actor.h"
#include "actors/generator_pool.h"
#include "actors/work_pool.h"
#include "datagen/attribute_model.h"
#include "datagen/filtered_writer.h"
#include "datagen/instruction_corpus.h"
#include "launch/actor_job.h"
#include "launch/generated_set.h"
#include "launch/program.h"
#include "launch/recipe_plan.h"
#include "launch/row_plan.h"
#include "launch/synthetic_sets.h"
#include "runtime/core/log.h"
#include "runtime/core/progress.h"
#include "runtime/core/stop_request.h"

namespace {

using namespace desta;
using launch::Job;
using launch::JobConfig;

// False when this process was asked to stop meanwhile: what is done is kept.
bool generate(runtime::ActorSystem& system, const JobConfig& config, const std::string& name,
              const std::string& manifest, actors::GeneratorPool& generators) {
  launch::GeneratedSet set = launch::open_set(system, config, name, manifest);
  auto& dataset = set.dataset;
  auto& rows = set.planned;
  std::vector<std::string> keys;
  for (const auto& row : rows) {
    keys.push_back(row.id);
  }
  const auto missing = dataset.call<&actors::DatasetActor::missing>(keys).get();
  const std::set<std::string> wanted(missing.begin(), missing.end());
  std::erase_if(rows, [&](const datagen::Row& row) { return !wanted.contains(row.id); });
  runtime::log().info("{}: {} rows are there, {} to write", name, keys.size() - rows.size(),
                      rows.size());
  const auto piece_size = static_cast<std::size_t>(config.data.decoding.batch_size);
  const std::size_t pieces = (rows.size() + piece_size - 1) / piece_size;
  runtime::ProgressBar bar("describing " + name, rows.size());
  std::size_t done = 0;
  std::vector<std::vector<datagen::Row>> finished(pieces);
  std::size_t next_to_append = 0;
  bool whole = false;
  try {
    whole = actors::pull_work<std::vector<std::string>>(
        [&] { return generators.count(); }, pieces,
        [&](std::size_t worker, std::size_t piece) {
          std::vector<datagen::TextRequest> requests;
          for (std::size_t i = piece * piece_size; i < std::min(rows.size(), (piece + 1) * piece_size);
               ++i) {
            requests.push_back({datagen::generator_prompt(rows[i].seed_transcript, rows[i].prompt),
                                datagen::sampling_seed(rows[i])});
          }
          return generators[worker].call<&actors::GeneratorActor::answer>(requests);
        },
        [&](std::size_t piece, std::vector<std::string> answers) {
          for (std::size_t i = 0; i < answers.size(); ++i) {
            datagen::Row row = rows[piece * piece_size + i];
            row.response = std::move(answers[i]);
            finished[piece].push_back(std::move(row));
          }
          done += answers.size();
          bar.update(done);
          // Shards hold rows in the order of the manifest, whichever generator was faster.
          while (next_to_append < pieces && !finished[next_to_append].empty()) {
            dataset.call<&actors::DatasetActor::append>(finished[next_to_append]).get();
            finished[next_to_append++].clear();
          }
        },
        [] { return runtime::stop_is_due(); });
  } catch (const runtime::Error&) {
    set.publish_what_is_done();
    throw;
  }
  bar.finish();
  const auto total = dataset.call<&actors::DatasetActor::finish>().get();
  runtime::log().info("{}: {} rows in {}", name, total, config.dataset_folder(name).string());
  set.log_losses();
  return whole;
}

// Published answers become rows of the training data as they are.
void import_answers(const Job& job, const std::string& path, const std::string& generator) {
  if (job.mpi.rank() != 0) {
    return;
  }
  const auto folder = job.config.dataset_folder("train");
  if (job.dry_run) {
    fmt::print("train: answers of {} -> {}\n", path, folder.string());
    return;
  }
  const auto lock = runtime::lock_folder(folder, datagen::kDatasetFolder);
  datagen::DatasetWriter writer(folder, static_cast<std::size_t>(job.config.data.rows_per_shard));
  const auto report = datagen::import_jsonl(path, generator, writer);
  for (const auto& problem : report.problems) {
    runtime::log().warn("left out: {}", problem);
  }
  writer.finish();
  runtime::log().info("{} rows taken from {}; {} rows in {}", report.rows, path, writer.size(),
                      folder.string());
}

void make_data(Job& job) {
  JobConfig& config = job.config;
  const auto manifests = launch::manifests_of(config);
  if (job.dry_run) {
    if (job.mpi.rank() == 0) {
      for (const auto& [name, manifest] : manifests) {
        fmt::print("{}: {} -> {} ({}, {} generators)\n", name, manifest,
                   config.dataset_folder(name).string(),
                   config.data.recipe.empty() ? fmt::format("{} prompts", config.data.prompts.size())
                                              : config.data.recipe,
                   job.mpi.size());
        if (!config.data.recipe.empty()) {
          fmt::print("{}", launch::recipe_plan(config, name, manifest));
        }
      }
    }
    return;
  }
  launch::register_generation_actors();
  auto models = datagen::load_attribute_models(config.data.metadata.models);
  launch::run_actors(
      job,
      [&](runtime::ActorSystem& system) {
        launch::provide_for_generation(config, system);
        system.provide<datagen::AttributeModels>(models);
      },
      [&](runtime::ActorSystem& system) {
        launch::speak(config);
        actors::GeneratorPool generators(system, 0);
        for (const auto& [name, manifest] : manifests) {
          if (!generate(system, config, name, manifest, generators)) {
            job.preempted = true;
            return;
          }
        }
      });
}

}  // namespace

int main(int argc, char** argv) {
  launch::Program program("desta-datagen",
                          "makes the training data: speech, metadata, seed transcripts, and the "
                          "frozen LLM's\ndescriptions, as an HDF5 dataset. The same command fills in "
                          "only what is missing.");
  std::string published;
  std::string generator;
  program.app().add_option("--import", published,
                           "JSON Lines with answers (DeSTA2's target, DeSTA2.5's response): take them "
                           "as training rows, generate nothing");
  program.app()
      .add_option("--generator", generator,
                  "with --import: the model that wrote the answers, to be noted in the rows")
      ->needs("--import");
  program.serve_joined(launch::register_generation_actors, launch::provide_for_generation);
  program.app().get_option("--import")->excludes("--join");
  return program.run(argc, argv, [&](Job& job) {
    published.empty() ? make_data(job) : import_answers(job, published, generator);
  });
}
