#include "actors/pipeline_writers.h"

#include <algorithm>
#include <utility>

#include "runtime/actor/future.h"

namespace desta::actors {

PipelineWriters::PipelineWriters(std::vector<runtime::ActorRef<StageActor>> stages,
                                 const trainer::TrainingOptions& options)
    : stages_(std::move(stages)),
      stages_per_replica_(static_cast<std::size_t>(options.pipeline.stages)),
      // Twice what runs side by side: a place that becomes free in a step is taken at once.
      enough_(static_cast<std::size_t>(2 * options.colocated->groups *
                                       options.colocated->decoding.batch_size)),
      unanswered_(stages_.size() / stages_per_replica_) {}

std::vector<trainer::TextOrder> PipelineWriters::orders_for(std::size_t replica, RowSupply& supply) {
  auto orders = supply.take(enough_ - std::min(enough_, unanswered_[replica]));
  unanswered_[replica] += orders.size();
  return orders;
}

void PipelineWriters::take(std::size_t replica, const std::vector<trainer::WrittenText>& texts,
                           RowSupply& supply) {
  unanswered_[replica] -= texts.size();
  supply.accept(texts);
}

void PipelineWriters::write(RowSupply& supply, std::size_t texts) {
  const std::size_t replicas = unanswered_.size();
  std::vector<runtime::Future<void>> ordered;
  for (std::size_t replica = 0; replica < replicas; ++replica) {
    ordered.push_back(stages_[(replica + 1) * stages_per_replica_ - 1].call<&StageActor::supply>(
        trainer::StepSupply{.rows = {}, .oldest = 0, .orders = orders_for(replica, supply)}));
  }
  for (auto& done : ordered) {
    done.get();
  }
  const auto each = static_cast<std::int64_t>((texts + replicas - 1) / replicas);
  std::vector<runtime::Future<trainer::WritingReport>> reports;
  for (auto& stage : stages_) {
    reports.push_back(stage.call<&StageActor::write_texts>(each));
  }
  const auto written = runtime::get_all(reports);
  for (std::size_t rank = 0; rank < written.size(); ++rank) {
    take(rank / stages_per_replica_, written[rank].written, supply);
  }
}

void PipelineWriters::stop() {
  std::vector<runtime::Future<void>> stopped;
  for (auto& stage : stages_) {
    stopped.push_back(stage.call<&StageActor::stop_writing>());
  }
  for (auto& done : stopped) {
    done.get();
  }
}

}  // namespace desta::actors
