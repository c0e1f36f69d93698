// Which requests go through a language model next, and what becomes of its logits: everything of text generation
// but the model itself. generation_engine.h runs it over a model in this process, trainer/pipeline_generator.h
// over the stages of a pipeline.
//
// A step is one pass through the model: a token of each answer that is being written, and a piece of the prompts
// that are being read. Keys and values lie in pages (models/page_pool.h) of one pool with a cap; what a prompt
// has in common with an earlier one is not computed again. When the pool is used up, the youngest request gives
// its pages back and is read again later.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/language_model.h"
#include "models/sampling.h"
#include "models/tokenizer.h"

namespace desta::datagen {

struct GenerationRequest {
  at::Tensor embeddings = {};  // [time, hidden]: the embedded prompt, speech vectors and all; or undefined
  std::uint64_t seed = 0;
  std::vector<models::TokenId> tokens = {};  // the prompt, where there are no embeddings
};

// How an answer is written.
struct AnswerOptions {
  models::SamplingOptions sampling = {};
  std::int64_t max_new_tokens = 200;
  std::vector<std::string> stop = {};  // the answer ends before the first of these
};

struct EngineOptions {
  std::int64_t most_running = 32;           // requests side by side
  std::int64_t cache_bytes = std::int64_t{1} << 30;  // of keys and values, at most
  std::int64_t prompt_rows = 256;           // positions of prompts a step
  bool share_beginnings = true;
};

using RequestId = std::int64_t;

struct Answer {
  RequestId id = 0;
  std::vector<models::TokenId> tokens;  // without the end-of-turn token
  std::string text;
  std::string error;  // one line, if something went wrong with this request
};

// What has been done so far.
struct EngineCounts {
  std::int64_t steps = 0;
  std::int64_t prompt_positions = 0;    // of all requests that were taken up
  std::int64_t shared_positions = 0;    // of these, not computed: an earlier prompt began alike
  std::int64_t computed_positions = 0;  // rows that went through the model, answers among them
  std::int64_t put_back = 0;            // times that a request gave its pages back
  std::int64_t most_pages = 0;          // held by requests at one time
};

// What the model behind it has room for.
struct ModelRoom {
  std::int64_t max_positions = 0;
  std::int64_t page_bytes = 0;  // of a page, where a process has most of it
};

class RequestScheduler {
 public:
  // `end_of_turn` ends an answer. The tokenizer must live as long as this. Throws ConfigError when the cap
  // holds no page.
  RequestScheduler(const models::Tokenizer& tokenizer, models::TokenId end_of_turn,
                   const EngineOptions& options, const ModelRoom& room);
  ~RequestScheduler();
  RequestScheduler(RequestScheduler&&) noexcept;
  RequestScheduler& operator=(RequestScheduler&&) = delete;

  // Ids count from 0. An answer is cut where the model's positions end. Throws DataError for a prompt that
  // is empty or leaves no room for an answer in the model's positions, and for a request that might need more
  // pages than the cap has.
  RequestId add(GenerationRequest request, const AnswerOptions& options);

  // Begins a step, if there is anything to do: finish_step() must come before the next. A plan without rows:
  // requests are waiting, and the next call may take them up.
  [[nodiscard]] std::optional<models::StepPlan> begin_step();
  // Rows of the begun step: [rows, hidden].
  [[nodiscard]] at::Tensor embeddings(const models::LanguageModel& model) const;
  // `logits`: of the begun step, as LanguageModel::step() returns them.
  void finish_step(const at::Tensor& logits);

  // Answers that have been finished since the last call, in the order of finishing.
  [[nodiscard]] std::vector<Answer> take_finished();
  // Requests that have no answer yet.
  [[nodiscard]] std::size_t unanswered() const { return waiting_.size() + running_.size(); }

  [[nodiscard]] const EngineCounts& counts() const { return counts_; }
  [[nodiscard]] std::int64_t pages() const { return pool_.size(); }

 private:
  struct Sequence;

  void take_up_waiting();
  [[nodiscard]] bool will_share_more(const Sequence& waiting) const;
  bool take_up(Sequence& sequence);
  void plan_step();
  bool make_room(Sequence& sequence, std::int64_t positions);
  void put_back_youngest();
  void release_pages(Sequence& sequence);
  void continue_answer(Sequence& sequence, const at::Tensor& logits);
  [[nodiscard]] bool has_stopped(const Sequence& sequence) const;
  void finish(Sequence& sequence, std::string error = {});

  const models::Tokenizer* tokenizer_;
  models::TokenId end_of_turn_;
  EngineOptions options_;
  ModelRoom room_;
  models::PagePool pool_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // the youngest last
  models::StepPlan plan_;                           // of the begun step
  std::vector<Sequence*> in_step_;                  // whose rows it has
  std::vector<Answer> finished_;
  RequestId next_id_ = 0;
  EngineCounts counts_;
};

}  // namespace desta::datagen
