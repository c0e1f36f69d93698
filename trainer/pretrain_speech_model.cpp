#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "datagen/synthesiser.h"
#include "datagen/synthetic_speech.h"
#include "models/log_mel.h"
#include "models/split_pattern.h"
#include "models/tokenizer.h"
#include "models/tokenizer_trainer.h"
#include "models/torch_util.h"
#include "models/whisper.h"
#include "runtime/core/log.h"
#include "runtime/core/random.h"
#include "trainer/pretraining.h"
#include "trainer/word_error_rate.h"

namespace desta::trainer {
namespace fs = std::filesystem;
using datagen::Split;
using models::TensorMap;
using models::TokenId;
using runtime::Random;

namespace {

// Share of the CTC loss (Watanabe et al. 2017 use 0.2 to 0.5). It spells the phonemes that espeak-ng
// spoke: with word pieces the encoder had learned no alignment after 800 steps, with letters it was at
// 1.8 nats a letter after 1,200 steps of 32 clips.
constexpr double kCtcShare = 0.5;
constexpr double kWeightDeviation = 0.05;  // about 1 / sqrt(d_model)
constexpr std::size_t kBatchesAhead = 6;
// Batches are cut from a pool of clips sorted by length. Three of four are trimmed to their longest
// clip (attention over silence is most of the cost); the fourth keeps the whole window, as at
// inference.
constexpr std::int64_t kPoolBatches = 4;
// The first pools are short and clean, the next clean: alignment is learned on them (cf. the SortaGrad
// curriculum of Deep Speech 2, Amodei et al. 2015).
constexpr std::int64_t kSimplePools = 150;
constexpr std::size_t kSimpleWords = 5;
constexpr std::int64_t kCleanPools = 450;  // the simple ones included
// Different pools among the clean and the full ones; behind them the first come again, from memory.
constexpr std::int64_t kDistinctCleanPools = 150;
constexpr std::int64_t kDistinctFullPools = 500;
const char* const kCtcWeight = "ctc.weight";

models::WhisperConfig stand_in_config(std::int64_t vocab_size) {
  models::WhisperConfig config;
  config.vocab_size = vocab_size;
  config.d_model = 192;
  config.encoder_layers = 4;
  config.encoder_heads = 3;
  config.encoder_ffn = 768;
  config.decoder_layers = 3;
  config.decoder_heads = 3;
  config.decoder_ffn = 768;
  config.mel_bins = 80;
  config.max_source_positions = 400;  // 8 s: synthetic clips last up to 7.5 s
  config.max_target_positions = 64;
  return config;
}

// Attention over all frames takes long to learn that speech is local. So in each encoder layer two of
// the three heads start out looking a few frames back and ahead: the sinusoidal positions p(t) stand in
// the residual stream, the key reads some of their frequencies, and the query reads them turned by the
// offset, so that the score is a sum of cos(w (distance - offset)). In the first 340 steps it made no
// difference that could be seen; it was not tried apart beyond them.
void seed_local_attention(TensorMap& tensors, const models::WhisperConfig& config) {
  constexpr std::int64_t kFrequencies = 20;  // wavelengths from 6 to 40 frames
  constexpr double kGain = 1.3;              // two frames off, the score is lower by about 3
  constexpr std::array<double, 4> kOffsets = {2, 3, 4, 6};  // frames of 20 ms, a layer
  const auto half = config.d_model / 2;
  const auto head_size = config.d_model / config.encoder_heads;
  const double step = std::log(10000.0) / static_cast<double>(half - 1);
  for (std::int64_t layer = 0; layer < config.encoder_layers; ++layer) {
    const std::string prefix = fmt::format("model.encoder.layers.{}.self_attn.", layer);
    at::Tensor query = tensors.at(prefix + "q_proj.weight");
    at::Tensor key = tensors.at(prefix + "k_proj.weight");
    for (std::int64_t head = 0; head < 2; ++head) {
      const double offset = kOffsets.at(static_cast<std::size_t>(layer)) * (head == 0 ? -1 : 1);
      for (std::int64_t f = 0; f < kFrequencies; ++f) {
        const double angle = offset * std::exp(-step * static_cast<double>(f));
        const auto row = head * head_size + 2 * f;
        key[row][f] = kGain;
        key[row + 1][half + f] = kGain;
        query[row][f] = kGain * std::cos(angle);
        query[row][half + f] = kGain * std::sin(angle);
        query[row + 1][half + f] = kGain * std::cos(angle);
        query[row + 1][f] = -kGain * std::sin(angle);
      }
    }
  }
}

// Whisper's texts begin with a space.
std::string spoken(const std::string& sentence) { return fmt::format(" {}", sentence); }

void make_tokenizer(const PretrainOptions& options) {
  std::vector<std::string> texts;
  Random random(options.seed);
  for (int i = 0; i < 20000; ++i) {
    texts.push_back(spoken(datagen::make_sentence(random, Split::kTrain)));
  }
  models::train_tokenizer(texts,
                          {models::kGpt2Pattern,
                           896,
                           {"<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>",
                            "<|transcribe|>", "<|nospeech|>", "<|notimestamps|>"}},
                          options.output);
}

std::size_t word_count(const std::string& sentence) {
  return 1 + static_cast<std::size_t>(std::count(sentence.begin(), sentence.end(), ' '));
}

std::vector<TokenId> start_tokens(const models::Tokenizer& tokenizer) {
  return {tokenizer.require("<|startoftranscript|>"), tokenizer.require("<|en|>"),
          tokenizer.require("<|transcribe|>"), tokenizer.require("<|notimestamps|>")};
}

// Numbers the phonemes of the training voices for the CTC loss.
class PhonemeSet {
 public:
  PhonemeSet(datagen::Synthesiser& synthesiser, const std::vector<datagen::Voice>& voices) {
    constexpr int kSentences = 200;  // an accent; what they lack is rare
    Random random(1);
    std::set<std::string> accents;
    for (const auto& voice : voices) {
      if (!accents.insert(voice.language).second) {
        continue;
      }
      for (int i = 0; i < kSentences; ++i) {
        for (auto& name :
             synthesiser.phonemes(datagen::make_sentence(random, Split::kTrain), voice)) {
          numbers_.emplace(std::move(name), kFirst + static_cast<TokenId>(numbers_.size()));
        }
      }
    }
  }
  [[nodiscard]] std::int64_t size() const {
    return kFirst + static_cast<std::int64_t>(numbers_.size());
  }
  [[nodiscard]] std::vector<TokenId> encode(const std::vector<std::string>& names) const {
    std::vector<TokenId> numbers;
    for (const auto& name : names) {
      const auto found = numbers_.find(name);
      numbers.push_back(found == numbers_.end() ? kOther : found->second);
    }
    return numbers;
  }

 private:
  static constexpr TokenId kOther = 1;  // 0 is the blank
  static constexpr TokenId kFirst = 2;
  std::map<std::string, TokenId> numbers_;
};

struct SpeechBatch {
  at::Tensor mel;  // [batch, mel_bins, frames] bfloat16
  std::vector<std::vector<TokenId>> words;
  std::vector<std::vector<TokenId>> phonemes;
  std::vector<std::string> sentences;
  std::vector<bool> clean;  // without noise and reverberation
};

// Synthesises batches ahead of the training loop, on a thread of its own; batch k depends on the
// seed and k alone.
class SpeechBatches {
 public:
  SpeechBatches(std::uint64_t seed, std::int64_t batch_size, Split split,
                const models::WhisperConfig& config, const models::Tokenizer& tokenizer,
                const PhonemeSet& phonemes)
      : seed_(seed),
        batch_size_(batch_size),
        split_(split),
        voices_(datagen::voices(split)),
        mel_(config.mel_bins, config.mel_frames()),
        tokenizer_(tokenizer),
        phonemes_(phonemes) {}
  ~SpeechBatches() { stop(); }
  SpeechBatches(const SpeechBatches&) = delete;
  SpeechBatches& operator=(const SpeechBatches&) = delete;

  // The batch of step `step`; steps are asked for in order.
  SpeechBatch at(std::int64_t step) {
    if (!thread_.joinable()) {
      thread_ = std::thread([this, step] { produce(step); });
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !ready_.empty(); });
    SpeechBatch batch = std::move(ready_.front());
    ready_.pop_front();
    changed_.notify_all();
    return batch;
  }

  // The batches of one pool, made in the caller's thread.
  std::vector<SpeechBatch> make_pool(std::int64_t pool, datagen::Synthesiser& synthesiser) const {
    struct Clip {
      std::string sentence;
      std::vector<TokenId> phonemes;
      at::Tensor mel;
      std::int64_t frames;
      bool clean;
    };
    std::vector<Clip> clips;
    for (std::int64_t i = 0; i < kPoolBatches * batch_size_; ++i) {
      const auto index = static_cast<std::uint64_t>(pool * kPoolBatches * batch_size_ + i);
      Random random(runtime::mix_seed(seed_, index));
      auto plan = datagen::plan_utterance(random, split_, voices_);
      const bool training = split_ == Split::kTrain;
      while (training && pool < kSimplePools && word_count(plan.sentence) > kSimpleWords) {
        plan = datagen::plan_utterance(random, split_, voices_);
      }
      if (training && pool < kCleanPools) {
        plan.snr_db.reset();
        plan.c50_db.reset();
      }
      const auto wave = datagen::render(synthesiser, plan, random);
      clips.push_back({plan.sentence,
                       phonemes_.encode(synthesiser.phonemes(plan.sentence, plan.voice)),
                       mel_(wave.samples).to(at::kBFloat16),
                       static_cast<std::int64_t>(wave.samples.size() / 160),
                       !plan.snr_db && !plan.c50_db});
    }
    std::stable_sort(clips.begin(), clips.end(),
                     [](const Clip& a, const Clip& b) { return a.frames < b.frames; });
    std::vector<SpeechBatch> batches;
    for (std::int64_t i = 0; i < kPoolBatches; ++i) {
      SpeechBatch batch;
      std::vector<at::Tensor> mels;
      for (std::int64_t j = i * batch_size_; j < (i + 1) * batch_size_; ++j) {
        const Clip& clip = clips[static_cast<std::size_t>(j)];
        mels.push_back(clip.mel);
        batch.words.push_back(tokenizer_.encode_plain(spoken(clip.sentence)));
        batch.phonemes.push_back(clip.phonemes);
        batch.sentences.push_back(clip.sentence);
        batch.clean.push_back(clip.clean);
      }
      batch.mel = at::stack(mels);
      if (split_ == Split::kTrain && (pool + i) % kPoolBatches != 0) {
        const auto longest = clips[static_cast<std::size_t>((i + 1) * batch_size_ - 1)].frames;
        batch.mel =
            batch.mel.narrow(2, 0, std::min(mel_.frames(), (longest / 2 + 10) * 2)).contiguous();
      }
      batches.push_back(std::move(batch));
    }
    Random random(runtime::mix_seed(seed_ + 1, static_cast<std::uint64_t>(pool)));
    random.shuffle(batches);
    return batches;
  }

 private:
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  // The pool whose clips pool `pool` has.
  static std::int64_t source_of(std::int64_t pool) {
    if (pool < kSimplePools) {
      return pool;
    }
    return pool < kCleanPools ? kSimplePools + (pool - kSimplePools) % kDistinctCleanPools
                              : kCleanPools + (pool - kCleanPools) % kDistinctFullPools;
  }

  void produce(std::int64_t step) {
    at::set_num_threads(1);
    datagen::Synthesiser synthesiser;
    for (std::int64_t pool = step / kPoolBatches;; ++pool) {
      const auto source = source_of(pool);
      const auto distinct = static_cast<std::size_t>(source);
      if (pools_.size() <= distinct) {
        pools_.resize(distinct + 1);
      }
      if (pools_[distinct].empty()) {
        pools_[distinct] = make_pool(source, synthesiser);
      }
      const auto& batches = pools_[distinct];
      const auto first = pool == step / kPoolBatches ? step % kPoolBatches : 0;
      for (auto i = static_cast<std::size_t>(first); i < batches.size(); ++i) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || ready_.size() < kBatchesAhead; });
        if (stopping_) {
          return;
        }
        ready_.push_back(batches[i]);
        changed_.notify_all();
      }
    }
  }

  std::uint64_t seed_;
  std::int64_t batch_size_;
  Split split_;
  std::vector<datagen::Voice> voices_;
  models::LogMel mel_;
  const models::Tokenizer& tokenizer_;
  const PhonemeSet& phonemes_;
  std::vector<std::vector<SpeechBatch>> pools_;  // of the producing thread
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<SpeechBatch> ready_;
  bool stopping_ = false;
};

at::Tensor decoder_loss(const models::WhisperDecoder& decoder, const at::Tensor& encoded,
                        const SpeechBatch& batch, const std::vector<TokenId>& start,
                        TokenId end) {
  std::size_t longest = 0;
  for (const auto& words : batch.words) {
    longest = std::max(longest, words.size());
  }
  const auto rows = static_cast<std::int64_t>(batch.words.size());
  const auto time = static_cast<std::int64_t>(start.size() + longest);
  at::Tensor input = at::full({rows, time}, end, at::kLong);
  at::Tensor target = at::full({rows, time}, -100, at::kLong);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::vector<TokenId> line = start;
    const auto& words = batch.words[static_cast<std::size_t>(r)];
    line.insert(line.end(), words.begin(), words.end());
    line.push_back(end);
    const auto count = static_cast<std::int64_t>(line.size()) - 1;
    const auto first = static_cast<std::int64_t>(start.size()) - 1;
    const at::Tensor row = at::tensor(line, at::kLong);
    input[r].narrow(0, 0, count).copy_(row.narrow(0, 0, count));
    target[r].narrow(0, first, count - first).copy_(row.narrow(0, first + 1, count - first));
  }
  const at::Tensor logits = decoder.logits(input, decoder.cross_keys(encoded)).to(at::kFloat);
  return at::cross_entropy_loss(logits.view({rows * time, -1}), target.view({-1}));
}

at::Tensor ctc_loss(const at::Tensor& encoded, const at::Tensor& weight, const SpeechBatch& batch) {
  std::vector<TokenId> targets;
  std::vector<std::int64_t> lengths;
  for (const auto& phonemes : batch.phonemes) {
    targets.insert(targets.end(), phonemes.begin(), phonemes.end());
    lengths.push_back(static_cast<std::int64_t>(phonemes.size()));
  }
  const at::Tensor log_probabilities =
      at::log_softmax(at::linear(encoded, weight).to(at::kFloat), -1).transpose(0, 1);
  const std::vector<std::int64_t> frames(lengths.size(), encoded.size(1));
  const at::Tensor losses =
      at::ctc_loss(log_probabilities, at::tensor(targets, at::kLong), frames, lengths, 0,
                   at::Reduction::None, /*zero_infinity=*/true);
  return (losses / at::clamp_min(at::tensor(lengths, at::kFloat), 1.0)).mean();
}

// Clips of held-out voices saying held-out sentences.
std::vector<SpeechBatch> held_out_clips(const models::WhisperConfig& config,
                                        const models::Tokenizer& tokenizer,
                                        const PhonemeSet& phonemes,
                                        datagen::Synthesiser& synthesiser) {
  constexpr std::int64_t kPools = 4;
  constexpr std::int64_t kRows = 25;
  const SpeechBatches clips(4711, kRows, Split::kHeldOut, config, tokenizer, phonemes);
  std::vector<SpeechBatch> batches;
  for (std::int64_t i = 0; i < kPools; ++i) {
    for (auto& batch : clips.make_pool(i, synthesiser)) {
      batches.push_back(std::move(batch));
    }
  }
  return batches;
}

std::string evaluate(const models::WhisperConfig& config, const models::Tokenizer& tokenizer,
                     const std::vector<SpeechBatch>& clips, const TensorMap& parameters) {
  const at::NoGradGuard no_grad;
  const TensorMap narrow = cast(parameters, at::kBFloat16);
  models::MapSource source(narrow);
  const models::WhisperEncoder encoder(config, models::EncoderPart::whole(config), source, true);
  const models::WhisperDecoder decoder(config, source);
  WordErrors total;
  WordErrors clean;
  std::string example;
  for (const SpeechBatch& batch : clips) {
    const auto rows = models::transcribe(encoder, decoder, batch.mel, start_tokens(tokenizer),
                                         tokenizer.require("<|endoftext|>"), 48);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const std::string heard = tokenizer.decode(rows[r]);
      const WordErrors errors = count_word_errors(batch.sentences[r], heard);
      total += errors;
      clean += batch.clean[r] ? errors : WordErrors{};
      example = fmt::format("'{}' heard as '{}'", batch.sentences[r], heard);
    }
  }
  return fmt::format("word error rate on held-out voices and sentences {:.1f}% ({} words), without "
                     "noise and reverberation {:.1f}% ({} words); {}",
                     100.0 * total.rate(), total.words, 100.0 * clean.rate(), clean.words, example);
}

}  // namespace

void pretrain_speech_model(const PretrainOptions& options) {
  if (!fs::exists(options.output / "tokenizer.json")) {
    make_tokenizer(options);
  }
  const models::Tokenizer tokenizer(options.output);
  const models::WhisperConfig config = stand_in_config(tokenizer.vocab_size());
  const auto start = start_tokens(tokenizer);
  const TokenId end = tokenizer.require("<|endoftext|>");
  // A process has one synthesiser at a time, and the training batches make their own.
  const auto prepared = [&] {
    datagen::Synthesiser synthesiser;
    PhonemeSet set(synthesiser, datagen::voices(Split::kTrain));
    auto clips = options.evaluate_every > 0 ? held_out_clips(config, tokenizer, set, synthesiser)
                                            : std::vector<SpeechBatch>();
    return std::pair(std::move(set), std::move(clips));
  }();
  const PhonemeSet& phonemes = prepared.first;
  const std::vector<SpeechBatch>& held_out = prepared.second;
  SpeechBatches batches(options.seed, options.batch_size, Split::kTrain, config, tokenizer,
                        phonemes);

  PretrainTask task;
  task.name = "stand-in speech model";
  const auto build = [&](models::TensorSource& source) {
    return std::pair(
        models::WhisperEncoder(config, models::EncoderPart::whole(config), source, true),
        models::WhisperDecoder(config, source));
  };
  models::RandomSource random(task.initial, options.seed, kWeightDeviation);
  (void)build(random);
  (void)random.get(kCtcWeight, {phonemes.size(), config.d_model});
  task.initial["model.encoder.embed_positions.weight"] =
      models::whisper_sinusoids(config.max_source_positions, config.d_model);
  seed_local_attention(task.initial, config);
  task.loss = [&](std::int64_t step, const TensorMap& parameters) {
    const SpeechBatch batch = batches.at(step);
    const TensorMap narrow = cast(parameters, at::kBFloat16);
    models::MapSource source(narrow);
    const auto [encoder, decoder] = build(source);
    const at::Tensor encoded = encoder.encode(batch.mel);
    const at::Tensor spoken = decoder_loss(decoder, encoded, batch, start, end);
    const at::Tensor spelt = ctc_loss(encoded, narrow.at(kCtcWeight), batch);
    runtime::log().debug("step {}: decoder loss {:.3f}, CTC loss {:.3f}", step,
                         spoken.item<double>(), spelt.item<double>());
    return (1.0 - kCtcShare) * spoken + kCtcShare * spelt;
  };
  task.evaluate = [&](const TensorMap& parameters) {
    return evaluate(config, tokenizer, held_out, parameters);
  };
  TensorMap trained = pretrain(task, options);
  trained.erase(kCtcWeight);
  config.save(options.output);
  export_weights(trained, options.output);
}

}  // namespace desta::trainer
