// Answers many requests side by side over a LanguageModel: requests join and leave between steps.
//
// A step is one pass through the model: a token of each answer that is being written, and a piece of the prompts
// that are being read. Keys and values lie in pages (models/page_pool.h) of one pool with a cap; what a prompt
// has in common with an earlier one is not computed again. When the pool is used up, the youngest request gives
// its pages back and is read again later.
//
// What a request's text depends on: the request, its options and its seed; not on its neighbours, the cap, the
// size of a piece, or how often it was put back. With a whole Llama on a CPU that holds to the bit, in float32
// and in bfloat16, on machines with the same instruction sets (models/row_product.h). Against another program,
// or our own training pass, rounding differs: in float32 texts part only where two tokens are equally likely
// to some six digits, in bfloat16 to two. On a GPU, products may round by the number of rows: nothing is promised.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <deque>
#include <memory>
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

// What an engine has done so far.
struct EngineCounts {
  std::int64_t steps = 0;
  std::int64_t prompt_positions = 0;    // of all requests that were taken up
  std::int64_t shared_positions = 0;    // of these, not computed: an earlier prompt began alike
  std::int64_t computed_positions = 0;  // rows that went through the model, answers among them
  std::int64_t put_back = 0;            // times that a request gave its pages back
  std::int64_t most_pages = 0;          // held by requests at one time
};

class GenerationEngine {
 public:
  // `end_of_turn` ends an answer. Model and tokenizer must live as long as this. Throws ConfigError when the cap
  // holds no page.
  GenerationEngine(const models::LanguageModel& model, const models::Tokenizer& tokenizer,
                   models::TokenId end_of_turn, const EngineOptions& options);
  ~GenerationEngine();
  GenerationEngine(const GenerationEngine&) = delete;
  GenerationEngine& operator=(const GenerationEngine&) = delete;

  // Ids count from 0. An answer is cut where the model's positions end. Throws DataError for a prompt that
  // is empty or leaves no room for an answer in the model's positions, and for a request that might need more
  // pages than the cap has.
  RequestId add(GenerationRequest request, const AnswerOptions& options);

  // Goes through the model once. False when there is nothing to do.
  bool step();

  // Answers that have been finished since the last call, in the order of finishing.
  [[nodiscard]] std::vector<Answer> take_finished();

  [[nodiscard]] const EngineCounts& counts() const { return counts_; }
  [[nodiscard]] std::int64_t pages() const { return pool_.size(); }

 private:
  struct Sequence;

  void take_up_waiting();
  [[nodiscard]] bool will_share_more(const Sequence& waiting) const;
  bool take_up(Sequence& sequence);
  models::StepPlan plan_step(std::vector<Sequence*>& in_step);
  bool make_room(Sequence& sequence, std::int64_t positions);
  void put_back_youngest();
  void release_pages(Sequence& sequence);
  [[nodiscard]] at::Tensor embeddings_of(const std::vector<Sequence*>& in_step,
                                         const models::StepPlan& plan) const;
  void continue_answer(Sequence& sequence, const at::Tensor& logits);
  [[nodiscard]] bool has_stopped(const Sequence& sequence) const;
  void finish(Sequence& sequence, std::string error = {});

  const models::LanguageModel& model_;
  const models::Tokenizer& tokenizer_;
  models::TokenId end_of_turn_;
  EngineOptions options_;
  models::PagePool pool_;
  std::unique_ptr<models::KvPages> pages_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // the youngest last
  std::vector<Answer> finished_;
  RequestId next_id_ = 0;
  EngineCounts counts_;
};

}  // namespace desta::datagen
