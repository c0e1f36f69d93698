#include "launch/generated_set.h"

#include <algorithm>

#include "actors/extractor_actor.h"
#include "actors/generator_actor.h"
#include "actors/stage_actor.h"
#include "actors/trainer_actor.h"
#include "launch/measured_manifest.h"
#include "launch/recipe_file.h"
#include "launch/row_plan.h"
#include "runtime/core/log.h"

namespace desta::launch {
namespace {

// Of a text that may be long what fits into a line of the log.
std::string shortened(std::string text) {
  constexpr std::size_t kMost = 160;
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (text.size() > kMost) {
    std::size_t end = kMost;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
      --end;  // within a character of UTF-8
    }
    text.resize(end);
    text += "...";
  }
  return text;
}

}  // namespace

void GeneratedSet::publish_what_is_done() {
  try {
    (void)dataset.call<&actors::DatasetActor::finish>().get();
  } catch (const runtime::Error& error) {
    runtime::log().debug("not published: {}", error.what());
  }
}

void GeneratedSet::log_losses() {
  for (const auto& loss : dataset.call<&actors::DatasetActor::losses>().get()) {
    const std::string kept =
        loss.kept == 0 ? ""
                       : fmt::format(" ({} of them were written before: they stay in the dataset, and training "
                                     "leaves them out)",
                                     loss.kept);
    runtime::log().info("{}: filters.{} took out {} of {}{}, such as: {}", name, loss.filter, loss.rows, asked,
                        kept, shortened(loss.sample));
  }
}

GeneratedSet open_set(runtime::ActorSystem& system, const JobConfig& config, const std::string& name,
                      const std::string& manifest) {
  GeneratedSet set{name,
                   system.spawn<actors::DatasetActor>({.name = "dataset/" + name},
                                                      config.dataset_folder(name).string(),
                                                      static_cast<std::uint64_t>(config.data.rows_per_shard)),
                   plan_rows(config, measure_manifest(system, name, manifest, config.data.metadata,
                                              config.measured_file(name)))};
  set.asked = set.planned.size();
  set.dataset.call<&actors::DatasetActor::set_filters>(filters_of(config, recipe_of(config))).get();
  return set;
}

void register_generation_actors() {
  actors::register_extractor_actor();
  actors::register_generator_actor();
  actors::register_dataset_actor();
  actors::register_stage_actor();
  actors::register_trainer_actor();
}

void provide_for_generation(JobConfig& config, runtime::ActorSystem& system) {
  system.provide<datagen::MetadataOptions>(config.data.metadata);
  system.provide<datagen::DecodingOptions>(config.data.decoding);
  system.provide<trainer::ModelOptions>(config.training.models);
}

}  // namespace desta::launch
