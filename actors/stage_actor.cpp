#include "actors/stage_actor.h"

#include "runtime/actor/actor_system.h"

namespace desta::actors {

StageActor::StageActor(std::int64_t replica, std::int64_t stage,
                       const std::optional<trainer::StreamInfo>& stream) {
  auto& system = runtime::current_system();
  engine_.emplace(system.resource<trainer::TrialSet>(),
                  trainer::RankPlace{replica, stage}, system.resource<trainer::Links>(),
                  stream);
}

void register_stage_actor() {
  runtime::actor_type<StageActor>("Stage")
      .constructor<std::int64_t, std::int64_t, std::optional<trainer::StreamInfo>>()
      .method<&StageActor::info>("info")
      .method<&StageActor::train_step>("train_step")
      .method<&StageActor::supply>("supply")
      .method<&StageActor::write_texts>("write_texts")
      .method<&StageActor::stop_writing>("stop_writing")
      .method<&StageActor::validate>("validate")
      .method<&StageActor::save>("save")
      .method<&StageActor::finish_saving>("finish_saving")
      .method<&StageActor::verify_frozen>("verify_frozen")
      .method<&StageActor::replica_traffic>("replica_traffic")
      .method<&StageActor::write_trace>("write_trace");
}

}  // namespace desta::actors
