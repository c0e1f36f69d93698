#include "actors/trainer_actor.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/actor/actor_system.h"

namespace desta::actors {

TrainerActor::TrainerActor(std::int64_t replica, std::int64_t stages) {
  for (std::int64_t stage = 0; stage < stages; ++stage) {
    stages_.push_back(runtime::current_system().get_actor<StageActor>(
        fmt::format("stage/{}/{}", replica, stage)));
  }
}

template <auto kMethod, typename... Args>
ReplicaReport TrainerActor::ask_stages(const Args&... args) {
  std::vector<runtime::Future<trainer::StageReport>> futures;
  for (auto& stage : stages_) {
    futures.push_back(stage.template call<kMethod>(args...));
  }
  ReplicaReport report;
  for (const auto& part : runtime::get_all(futures)) {
    report.total.trials.resize(part.trials.size());
    for (std::size_t i = 0; i < part.trials.size(); ++i) {
      report.total.trials[i].add(part.trials[i]);
    }
    report.total.stop_is_due = report.total.stop_is_due || part.stop_is_due;
    report.total.seconds = std::max(report.total.seconds, part.seconds);
    report.total.exposed_seconds = std::max(report.total.exposed_seconds, part.exposed_seconds);
    report.busy.push_back(part.busy_seconds / std::max(part.seconds, 1e-9));
    report.writing.push_back(part.generating_seconds / std::max(part.seconds, 1e-9));
    report.total.written.insert(report.total.written.end(), part.written.begin(), part.written.end());
    report.total.written_tokens += part.written_tokens;
  }
  return report;
}

ReplicaReport TrainerActor::train_step(const std::vector<std::int64_t>& steps) {
  return ask_stages<&StageActor::train_step>(steps);
}

ReplicaReport TrainerActor::validate(std::int64_t trial) {
  return ask_stages<&StageActor::validate>(trial);
}

void register_trainer_actor() {
  runtime::actor_type<TrainerActor>("Trainer")
      .constructor<std::int64_t, std::int64_t>()
      .method<&TrainerActor::train_step>("train_step")
      .method<&TrainerActor::validate>("validate");
}

}  // namespace desta::actors
