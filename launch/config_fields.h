// Every setting once: its section, its key and the field it fills. Reading and writing YAML both walk
// this list, so they cannot disagree.
#pragma once

#include "launch/config.h"

namespace desta::launch {

// Visitor: section(name, [&] { ... }) and value(key, field).
template <typename Visitor>
void visit_fields(Visitor& v, JobConfig& c) {
  trainer::TrainingOptions& t = c.training;
  v.section("run", [&] {
    v.value("folder", t.folder);
    v.value("seed", t.seed);
    v.value("trace", t.trace);
  });
  v.section("models", [&] {
    v.value("speech", t.models.speech);
    v.value("llm", t.models.llm);
    v.value("precision", t.models.precision);
    v.value("device", t.models.device);
  });
  v.section("adapter", [&] {
    v.value("queries", t.adapter.queries);
    v.value("layers", t.adapter.layers);
    v.value("ffn", t.adapter.ffn);
    v.value("dropout", t.adapter.dropout);
    v.value("taps", t.adapter.taps);
  });
  v.section("data", [&] {
    v.value("folder", c.data.folder);
    v.value("seed", c.data.seed);
    v.value("select", c.data.select);
    v.value("features", t.features);
    v.value("features_gib", t.features_gib);
    v.value("train_manifest", c.data.train_manifest);
    v.value("validation_manifest", c.data.validation_manifest);
    v.section("synthetic", [&] {
      v.value("enabled", c.data.synthetic.enabled);
      v.value("train", c.data.synthetic.train);
      v.value("validation", c.data.synthetic.validation);
      v.value("held_out", c.data.synthetic.held_out);
      v.value("flite", c.data.synthetic.flite);
      v.value("robustness", c.data.synthetic.robustness);
      v.value("train_accents", c.data.synthetic.train_accents);
    });
    v.value("recipe", c.data.recipe);
    v.value("rows_per_shard", c.data.rows_per_shard);
  });
  v.section("metadata", [&] {
    v.value("attributes", c.data.attributes);
    v.value("show_source", c.data.show_source);
    v.value("blind_reverberation", c.data.metadata.blind_reverberation);
    v.value("models", c.data.metadata.models);
    v.section("thresholds", [&] {
      datagen::Thresholds& h = c.data.metadata.thresholds;
      v.value("pitch_low_hz", h.pitch_low_hz);
      v.value("pitch_high_hz", h.pitch_high_hz);
      v.value("volume_low_dbfs", h.volume_low_dbfs);
      v.value("volume_high_dbfs", h.volume_high_dbfs);
      v.value("speed_slow", h.speed_slow);
      v.value("speed_fast", h.speed_fast);
      v.value("snr_high_noise_db", h.snr_high_noise_db);
      v.value("snr_low_noise_db", h.snr_low_noise_db);
      v.value("loudness_low_lufs", h.loudness_low_lufs);
      v.value("loudness_high_lufs", h.loudness_high_lufs);
      v.value("c50_high_reverberation_db", h.c50_high_reverberation_db);
      v.value("c50_low_reverberation_db", h.c50_low_reverberation_db);
    });
  });
  v.value("prompts", c.data.prompts);
  v.section("filters", [&] {
    datagen::FilterOptions& f = c.data.filters;
    v.value("min_words", f.min_words);
    v.value("max_words", f.max_words);
    v.value("refusals", f.refusals);
    v.value("refusal_phrases", f.refusal_phrases);
    v.value("repetition", f.repetition);
    v.value("language", f.language);
    v.value("mentions", f.mentions);
    v.value("contradictions", f.contradictions);
    v.value("duplicates", f.duplicates);
  });
  v.section("generation", [&] {
    v.value("max_new_tokens", c.data.decoding.max_new_tokens);
    v.value("temperature", c.data.decoding.temperature);
    v.value("top_p", c.data.decoding.top_p);
    v.value("top_k", c.data.decoding.top_k);
    v.value("repetition_penalty", c.data.decoding.repetition_penalty);
    v.value("stop", c.data.decoding.stop);
    v.value("batch_size", c.data.decoding.batch_size);
    v.value("cache_mib", c.data.decoding.cache_mib);
    v.value("placement", c.placement.where);
    v.value("ranks", c.placement.ranks);
    v.value("groups", c.placement.groups);
    v.value("start_rows", c.placement.start_rows);
    v.value("ahead_rows", c.placement.ahead_rows);
  });
  v.section("pipeline", [&] {
    v.value("stages", t.pipeline.stages);
    v.value("chunks", t.pipeline.chunks);
    v.value("schedule", t.pipeline.schedule);
    v.value("fill", t.pipeline.fill);
    v.value("costs", t.pipeline.costs);
    v.value("cut", t.pipeline.cut);
    v.value("recompute", t.pipeline.recompute);
    v.value("memory_gib", t.pipeline.memory_gib);
  });
  v.section("data_parallel", [&] {
    v.value("replicas", t.replicas);
    v.value("wire", t.reduction.wire);
    v.value("powersgd_rank", t.reduction.powersgd_rank);
    v.value("first_bucket_mib", t.reduction.first_bucket_mib);
    v.value("bucket_mib", t.reduction.bucket_mib);
  });
  v.section("batch", [&] {
    v.value("global_size", t.batch.global_size);
    v.value("micro_size", t.batch.micro_size);
    v.value("cut", t.batch.cut);
    v.value("max_text_tokens", t.batch.max_text_tokens);
    v.value("share_prefix", t.batch.share_prefix);
  });
  v.section("train", [&] {
    v.value("what", t.train.what);
    v.section("lora", [&] {
      v.value("rank", t.train.lora.rank);
      v.value("alpha", t.train.lora.alpha);
      v.value("targets", t.train.lora.targets);
    });
    v.value("encoder_layers", t.train.encoder_layers);
    v.value("start_from", t.train.start_from);
  });
  v.section("training", [&] {
    v.value("epochs", t.epochs);
    v.value("steps", t.steps);
    v.value("validate_every", t.validate_every);
  });
  v.section("optimizer", [&] {
    v.value("learning_rate", t.optimizer.learning_rate);
    v.value("beta1", t.optimizer.beta1);
    v.value("beta2", t.optimizer.beta2);
    v.value("eps", t.optimizer.eps);
    v.value("weight_decay", t.optimizer.weight_decay);
    v.value("warmup_steps", t.optimizer.warmup_steps);
    v.value("clip_norm", t.optimizer.clip_norm);
  });
  v.section("checkpoint", [&] {
    v.value("every", t.checkpoint.every);
    v.value("keep", t.checkpoint.keep);
    v.value("keep_every", t.checkpoint.keep_every);
  });
  v.section("preemption", [&] {
    v.value("signal", c.preemption.signal);
    v.value("requeue", c.preemption.requeue);
    v.value("margin_seconds", c.preemption.margin_seconds);
  });
  v.section("evaluation", [&] {
    v.value("manifests", c.evaluation.manifests);
    v.value("extra_manifests", c.evaluation.extra_manifests);
    v.value("tasks", c.evaluation.tasks);
    v.value("max_new_tokens", c.evaluation.max_new_tokens);
    v.value("retention_rows", c.evaluation.retention_rows);
    v.value("text_questions", c.evaluation.text_questions);
  });
  v.section("runtime", [&] {
    v.value("backend", c.runtime.backend);
    v.value("all_reduce", c.runtime.all_reduce);
    v.value("timeout_seconds", c.runtime.timeout_seconds);
    v.value("threads", c.runtime.threads);
    v.value("bind", c.runtime.bind);
    v.value("status", c.runtime.status);
    v.value("join", c.runtime.join);
    v.value("join_token", c.runtime.join_token);
    v.value("trace", c.runtime.trace);
    v.value("hang_after_seconds", c.runtime.hang_after_seconds);
  });
}

}  // namespace desta::launch
