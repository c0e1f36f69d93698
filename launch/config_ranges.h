// Which numbers make sense. What lies outside would divide by zero, wait for ever or learn nothing.
#pragma once

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "launch/config.h"

namespace desta::launch {

// Calls `require(key, holds, "1 or more")` for every setting that has a range.
inline void check_ranges(
    const JobConfig& c,
    const std::function<void(const std::string&, bool, const std::string&)>& require) {
  const trainer::TrainingOptions& t = c.training;
  const auto one_or_more = [&](const std::string& key, std::int64_t value) {
    require(key, value >= 1, "1 or more");
  };
  const auto zero_or_more = [&](const std::string& key, double value) {
    require(key, value >= 0, "0 or more");
  };
  const auto share = [&](const std::string& key, double value) {
    require(key, value >= 0 && value < 1, "0 or more and less than 1");
  };
  one_or_more("adapter.queries", t.adapter.queries);
  one_or_more("adapter.layers", t.adapter.layers);
  one_or_more("adapter.ffn", t.adapter.ffn);
  share("adapter.dropout", t.adapter.dropout);
  one_or_more("data.rows_per_shard", c.data.rows_per_shard);
  zero_or_more("data.features_gib", t.features_gib);
  zero_or_more("data.synthetic.train", static_cast<double>(c.data.synthetic.train));
  zero_or_more("data.synthetic.validation", static_cast<double>(c.data.synthetic.validation));
  zero_or_more("data.synthetic.held_out", static_cast<double>(c.data.synthetic.held_out));
  zero_or_more("data.synthetic.flite", static_cast<double>(c.data.synthetic.flite));
  zero_or_more("filters.min_words", static_cast<double>(c.data.filters.min_words));
  require("filters.max_words",
          c.data.filters.max_words == 0 ||
              c.data.filters.max_words >= std::max<std::int64_t>(1, c.data.filters.min_words),
          "0, or at least filters.min_words");
  require("filters.repetition", c.data.filters.repetition == 0 || c.data.filters.repetition > 1,
          "0, or more than 1");
  require("filters.language",
          c.data.filters.language.empty() || datagen::is_known_language(c.data.filters.language),
          "empty, or an ISO 639-1 code, such as en");
  zero_or_more("filters.mentions", static_cast<double>(c.data.filters.mentions));
  one_or_more("generation.max_new_tokens", c.data.decoding.max_new_tokens);
  zero_or_more("generation.temperature", c.data.decoding.temperature);
  require("generation.top_p", c.data.decoding.top_p > 0 && c.data.decoding.top_p <= 1,
          "more than 0 and at most 1");
  zero_or_more("generation.top_k", static_cast<double>(c.data.decoding.top_k));
  require("generation.repetition_penalty", c.data.decoding.repetition_penalty > 0, "more than 0");
  one_or_more("generation.batch_size", c.data.decoding.batch_size);
  one_or_more("generation.cache_mib", c.data.decoding.cache_mib);
  one_or_more("pipeline.stages", t.pipeline.stages);
  one_or_more("pipeline.chunks", t.pipeline.chunks);
  zero_or_more("pipeline.memory_gib", t.pipeline.memory_gib);
  one_or_more("data_parallel.replicas", t.replicas);
  one_or_more("data_parallel.powersgd_rank", t.reduction.powersgd_rank);
  one_or_more("data_parallel.first_bucket_mib", t.reduction.first_bucket_mib);
  one_or_more("data_parallel.bucket_mib", t.reduction.bucket_mib);
  one_or_more("batch.global_size", t.batch.global_size);
  one_or_more("batch.micro_size", t.batch.micro_size);
  one_or_more("batch.max_text_tokens", t.batch.max_text_tokens);
  one_or_more("training.epochs", t.epochs);
  zero_or_more("training.steps", static_cast<double>(t.steps));
  zero_or_more("training.validate_every", static_cast<double>(t.validate_every));
  require("optimizer.learning_rate",
          t.optimizer.learning_rate >= 0 && t.optimizer.learning_rate <= 1e30,
          "0 or more and at most 1e30");
  share("optimizer.beta1", t.optimizer.beta1);
  share("optimizer.beta2", t.optimizer.beta2);
  require("optimizer.eps", t.optimizer.eps > 0, "more than 0");
  zero_or_more("optimizer.weight_decay", t.optimizer.weight_decay);
  zero_or_more("optimizer.warmup_steps", static_cast<double>(t.optimizer.warmup_steps));
  zero_or_more("optimizer.clip_norm", t.optimizer.clip_norm);
  zero_or_more("checkpoint.every", static_cast<double>(t.checkpoint.every));
  zero_or_more("checkpoint.keep", static_cast<double>(t.checkpoint.keep));
  zero_or_more("checkpoint.keep_every", static_cast<double>(t.checkpoint.keep_every));
  zero_or_more("preemption.margin_seconds", static_cast<double>(c.preemption.margin_seconds));
  one_or_more("train.lora.rank", t.train.lora.rank);
  require("train.lora.alpha", t.train.lora.alpha > 0, "more than 0");
  one_or_more("train.encoder_layers", t.train.encoder_layers);
  zero_or_more("data.synthetic.robustness", static_cast<double>(c.data.synthetic.robustness));
  one_or_more("evaluation.max_new_tokens", c.evaluation.max_new_tokens);
  zero_or_more("evaluation.retention_rows", static_cast<double>(c.evaluation.retention_rows));
  zero_or_more("evaluation.text_questions", static_cast<double>(c.evaluation.text_questions));
  const auto one_of = [&](const std::string& key, const std::string& value,
                          const std::vector<std::string>& known) {
    require(key, std::find(known.begin(), known.end(), value) != known.end(),
            fmt::format("one of {}", fmt::join(known, ", ")));
  };
  one_of("models.precision", t.models.precision, {"float32", "bfloat16"});
  one_of("models.device", t.models.device, {"auto", "cpu", "cuda"});
  one_of("batch.cut", t.batch.cut, {"rows", "tokens"});
  one_of("data_parallel.wire", t.reduction.wire, {"float32", "bfloat16", "powersgd"});
  one_of("train.what", t.train.what, {"adapter", "lora", "encoder"});
  require("train.lora.targets", !t.train.lora.targets.empty(), "one or more of q, k, v");
  for (const auto& target : t.train.lora.targets) {
    one_of("train.lora.targets", target, {"q", "k", "v"});
  }
  one_of("generation.placement", c.placement.where, {"before", "colocated", "dedicated", "workers"});
  require("generation.ranks", c.placement.where == "dedicated" ? c.placement.ranks >= 1 : c.placement.ranks == 0,
          c.placement.where == "dedicated" ? "1 or more where generation.placement is dedicated"
                                           : "0 unless generation.placement is dedicated");
  one_or_more("generation.groups", c.placement.groups);
  one_or_more("generation.start_rows", c.placement.start_rows);
  require("generation.ahead_rows",
          c.placement.ahead_rows >= std::max(c.placement.start_rows, 2 * t.batch.global_size),
          "at least generation.start_rows and twice batch.global_size");
  one_of("data.select", c.data.select, {"all", "matching"});
  one_of("preemption.signal", c.preemption.signal, {"USR1", "USR2", "TERM", "INT", "HUP"});
  one_of("runtime.bind", c.runtime.bind, {"auto", "none"});
  one_of("runtime.backend", c.runtime.backend, {"auto", "local", "mpi", "nccl"});
  one_or_more("runtime.timeout_seconds", c.runtime.timeout_seconds);
  one_or_more("runtime.threads", c.runtime.threads);
  one_or_more("runtime.hang_after_seconds", c.runtime.hang_after_seconds);
}

}  // namespace desta::launch
