#include "datagen/request_scheduler.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "models/tensor_source.h"
#include "runtime/core/error.h"

namespace desta::datagen {

using models::kPagePositions;
using models::PageId;
using models::pages_for;
using models::PositionKey;
using models::TokenId;

// A request on its way. Positions are those of the prompt and, behind it, of the answer so far.
struct RequestScheduler::Sequence {
  RequestId id = 0;
  GenerationRequest request;
  AnswerOptions options;
  runtime::Random random{0};
  std::int64_t limit = 0;          // tokens that the answer may have
  std::vector<PositionKey> keys;   // of the prompt
  std::vector<TokenId> answer;
  std::vector<PageId> pages;
  std::int64_t computed = 0;  // positions whose keys and values are in the pages
  bool done = false;
  std::optional<models::StepPlan::Copy> copy;  // due before the next step; its source is held

  [[nodiscard]] std::int64_t prompt_size() const { return static_cast<std::int64_t>(keys.size()); }
  [[nodiscard]] std::int64_t size() const {
    return prompt_size() + static_cast<std::int64_t>(answer.size());
  }
  [[nodiscard]] bool reads_prompt() const { return computed < prompt_size(); }
  // Tokens of those rows that have some.
  void append_tokens(const models::SequenceRows& rows, std::vector<TokenId>& tokens) const {
    const auto end = rows.first + rows.count;
    if (!request.embeddings.defined() && rows.first < prompt_size()) {
      const auto& prompt = request.tokens;
      tokens.insert(tokens.end(), prompt.begin() + rows.first, prompt.begin() + std::min(end, prompt_size()));
    }
    for (auto p = std::max(rows.first, prompt_size()); p < end; ++p) {
      tokens.push_back(answer[static_cast<std::size_t>(p - prompt_size())]);
    }
  }
  // The last position is computed in any case: its logits are wanted.
  [[nodiscard]] std::span<const PositionKey> shareable() const {
    return std::span(keys).first(std::min(keys.size(), static_cast<std::size_t>(size() - 1)));
  }
};

namespace {

// Tokens are their own keys; an embedded position has the 64-bit hash of its numbers.
std::vector<PositionKey> keys_of(const GenerationRequest& request) {
  std::vector<PositionKey> keys;
  if (!request.embeddings.defined()) {
    keys.assign(request.tokens.begin(), request.tokens.end());
    return keys;
  }
  const at::Tensor rows = request.embeddings.to(at::kCPU).contiguous();
  for (std::int64_t i = 0; i < rows.size(0); ++i) {
    keys.push_back(models::checksum(rows[i]));
  }
  return keys;
}

std::int64_t pages_of(const EngineOptions& options, const ModelRoom& room) {
  const auto pages = options.cache_bytes / room.page_bytes;
  if (pages < 1) {
    throw runtime::ConfigError("a KV cache of {} bytes holds no page of {}; raise generation.cache_mib",
                               options.cache_bytes, room.page_bytes);
  }
  return pages;
}

// Where the first of the stop strings begins.
std::optional<std::size_t> stop_in(const std::string& text, const std::vector<std::string>& stop) {
  std::optional<std::size_t> first;
  for (const auto& words : stop) {
    const auto at = words.empty() ? std::string::npos : text.find(words);
    if (at != std::string::npos && (!first || at < *first)) {
      first = at;
    }
  }
  return first;
}

}  // namespace

RequestScheduler::RequestScheduler(const models::Tokenizer& tokenizer, TokenId end_of_turn,
                                   const EngineOptions& options, const ModelRoom& room)
    : tokenizer_(&tokenizer),
      end_of_turn_(end_of_turn),
      options_(options),
      room_(room),
      pool_(pages_of(options, room)) {}

RequestScheduler::~RequestScheduler() = default;
RequestScheduler::RequestScheduler(RequestScheduler&&) noexcept = default;

RequestId RequestScheduler::add(GenerationRequest request, const AnswerOptions& options) {
  auto sequence = std::make_unique<Sequence>();
  sequence->keys = keys_of(request);
  const auto prompt = sequence->prompt_size();
  const auto room = room_.max_positions - prompt;
  if (prompt == 0) {
    throw runtime::DataError("request {}: its prompt is empty", next_id_);
  }
  if (room <= 0) {
    throw runtime::DataError("request {}: a prompt of {} positions leaves no room for an answer (the model has "
                             "{}); shorten the prompt",
                             next_id_, prompt, room_.max_positions);
  }
  sequence->limit = std::clamp<std::int64_t>(options.max_new_tokens, 0, room);
  // The last token of an answer is not read again.
  const auto most = prompt + std::max<std::int64_t>(sequence->limit - 1, 0);
  if (pages_for(most) > pool_.size()) {
    throw runtime::DataError("request {}: {} positions of prompt and {} of answer may need {} bytes of keys and "
                             "values, {} are allowed; raise generation.cache_mib, or ask for less",
                             next_id_, prompt, sequence->limit, pages_for(most) * room_.page_bytes,
                             options_.cache_bytes);
  }
  sequence->id = next_id_++;
  sequence->request = std::move(request);
  sequence->options = options;
  sequence->random = runtime::Random(sequence->request.seed);
  if (sequence->limit == 0) {
    finish(*sequence);
  } else {
    waiting_.push_back(std::move(sequence));
  }
  return next_id_ - 1;
}

std::vector<Answer> RequestScheduler::take_finished() { return std::exchange(finished_, {}); }

// Whether a prompt that is being read now will soon be a longer beginning of this one than any kept.
bool RequestScheduler::will_share_more(const Sequence& waiting) const {
  const auto own = waiting.shareable();
  return std::ranges::any_of(running_, [&](const auto& other) {
    if (!other->reads_prompt()) {
      return false;
    }
    const auto same = std::ranges::mismatch(own, other->keys).in1 - own.begin();
    return same > other->computed && same >= kPagePositions;
  });
}

// Gives a waiting sequence the beginning that is kept for it, if it can be expected to go on from there.
bool RequestScheduler::take_up(Sequence& sequence) {
  models::PagePool::Beginning beginning;
  if (options_.share_beginnings) {
    beginning = pool_.find(sequence.shareable());
  }
  for (const auto page : beginning.pages) {
    pool_.hold(page);
  }
  const auto growing = static_cast<std::int64_t>(running_.size());
  const auto needed = pages_for(sequence.size()) - static_cast<std::int64_t>(beginning.pages.size());
  if (!running_.empty() && pool_.available() < needed + growing) {
    for (const auto page : beginning.pages) {
      pool_.release(page);
    }
    return false;
  }
  sequence.pages = std::move(beginning.pages);
  sequence.computed = static_cast<std::int64_t>(sequence.pages.size()) * kPagePositions;
  // A page to copy from is held besides.
  if (beginning.partial >= 0 && pool_.available() > needed + growing) {
    pool_.hold(beginning.partial);
    if (const auto page = pool_.take()) {
      sequence.copy = {beginning.partial, *page};
      sequence.pages.push_back(*page);
      sequence.computed += beginning.partial_positions;
    } else {
      pool_.release(beginning.partial);
    }
  }
  return true;
}

void RequestScheduler::take_up_waiting() {
  for (auto it = waiting_.begin();
       it != waiting_.end() && static_cast<std::int64_t>(running_.size()) < options_.most_running;) {
    Sequence& sequence = **it;
    if (options_.share_beginnings && will_share_more(sequence)) {
      ++it;
      continue;
    }
    if (!take_up(sequence)) {
      return;
    }
    if (sequence.answer.empty()) {
      counts_.prompt_positions += sequence.prompt_size();
      counts_.shared_positions += sequence.computed;
    }
    running_.push_back(std::move(*it));
    it = waiting_.erase(it);
  }
}

void RequestScheduler::release_pages(Sequence& sequence) {
  if (sequence.copy) {
    pool_.release(sequence.copy->from);
    sequence.copy.reset();
  }
  for (const auto page : sequence.pages) {
    pool_.release(page);
  }
  sequence.pages.clear();
  sequence.computed = 0;
}

void RequestScheduler::put_back_youngest() {
  ++counts_.put_back;
  release_pages(*running_.back());
  waiting_.push_front(std::move(running_.back()));
  running_.pop_back();
}

// Pages for this many positions of a sequence. False when the sequence itself had to be put back.
bool RequestScheduler::make_room(Sequence& sequence, std::int64_t positions) {
  while (static_cast<std::int64_t>(sequence.pages.size()) < pages_for(positions)) {
    if (const auto page = pool_.take()) {
      sequence.pages.push_back(*page);
      continue;
    }
    const bool itself = running_.back().get() == &sequence;
    put_back_youngest();
    if (itself) {
      return false;
    }
  }
  return true;
}

void RequestScheduler::plan_step() {
  plan_ = {};
  in_step_.clear();
  auto prompt_rows = std::max<std::int64_t>(1, options_.prompt_rows);
  // From the oldest on, so that the youngest is not in the plan yet when it has to be put back.
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    const auto due = sequence.size() - sequence.computed;
    const auto count = due == 1 ? 1 : std::min(due, prompt_rows);
    if (count == 0) {
      continue;
    }
    if (!make_room(sequence, sequence.computed + count)) {
      break;
    }
    if (due > 1) {
      prompt_rows -= count;
    }
    if (sequence.copy) {
      plan_.copies.push_back(*sequence.copy);
    }
    plan_.sequences.push_back({sequence.pages, sequence.computed, count, count == due});
    in_step_.push_back(&sequence);
  }
}

at::Tensor RequestScheduler::embeddings(const models::LanguageModel& model) const {
  std::vector<at::Tensor> parts;
  std::vector<TokenId> tokens;  // not in `parts` yet
  const auto flush = [&] {
    if (!tokens.empty()) {
      parts.push_back(model.embed(at::tensor(tokens, at::kLong)));
      tokens.clear();
    }
  };
  for (std::size_t i = 0; i < in_step_.size(); ++i) {
    const Sequence& sequence = *in_step_[i];
    const models::SequenceRows& rows = plan_.sequences[i];
    const auto of_prompt = std::min(rows.first + rows.count, sequence.prompt_size());
    if (sequence.request.embeddings.defined() && rows.first < of_prompt) {
      flush();
      parts.push_back(sequence.request.embeddings.narrow(0, rows.first, of_prompt - rows.first));
    }
    sequence.append_tokens(rows, tokens);
  }
  flush();
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

std::optional<models::StepPlan> RequestScheduler::begin_step() {
  take_up_waiting();
  plan_step();
  if (in_step_.empty()) {
    return waiting_.empty() ? std::nullopt : std::optional(plan_);
  }
  ++counts_.steps;
  counts_.computed_positions += plan_.rows();
  counts_.most_pages = std::max(counts_.most_pages, pool_.size() - pool_.available());
  return plan_;
}

void RequestScheduler::finish_step(const at::Tensor& logits) {
  const at::Tensor rows = logits.to(at::kCPU).contiguous();
  std::int64_t next = 0;
  for (std::size_t i = 0; i < in_step_.size(); ++i) {
    Sequence& sequence = *in_step_[i];
    const bool read = sequence.reads_prompt();
    sequence.computed += plan_.sequences[i].count;
    if (sequence.copy) {
      pool_.release(sequence.copy->from);
      sequence.copy.reset();
    }
    if (read && options_.share_beginnings) {
      // A page that is still being filled is kept once the prompt ends in it.
      const auto whole = sequence.reads_prompt() ? sequence.computed / kPagePositions * kPagePositions
                                                 : sequence.prompt_size();
      pool_.keep(std::span(sequence.keys).first(static_cast<std::size_t>(whole)), sequence.pages);
    }
    if (plan_.sequences[i].wants_logits) {
      continue_answer(sequence, rows[next++]);
    }
  }
  in_step_.clear();
  std::erase_if(running_, [](const auto& sequence) { return sequence->done; });
}

void RequestScheduler::continue_answer(Sequence& sequence, const at::Tensor& logits) {
  const std::span<float> row(logits.data_ptr<float>(), static_cast<std::size_t>(logits.numel()));
  if (std::ranges::any_of(row, [](float x) { return std::isnan(x); })) {
    finish(sequence, fmt::format("request {}: the model's logits are not numbers (NaN) after a prompt of {} "
                                 "positions and {} tokens of the answer; are its embeddings and the model's "
                                 "weights finite?",
                                 sequence.id, sequence.prompt_size(), sequence.answer.size()));
    return;
  }
  const auto& sampling = sequence.options.sampling;
  std::vector<TokenId> before;
  if (sampling.repetition_penalty != 1.0) {
    before = sequence.request.tokens;
    before.insert(before.end(), sequence.answer.begin(), sequence.answer.end());
  }
  const TokenId token = models::sample(row, sampling, sequence.random, before);
  if (token != end_of_turn_) {
    sequence.answer.push_back(token);
  }
  if (token == end_of_turn_ || static_cast<std::int64_t>(sequence.answer.size()) >= sequence.limit ||
      has_stopped(sequence)) {
    finish(sequence);
  }
}

bool RequestScheduler::has_stopped(const Sequence& sequence) const {
  if (sequence.options.stop.empty()) {
    return false;
  }
  try {
    return stop_in(tokenizer_->decode(sequence.answer), sequence.options.stop).has_value();
  } catch (const runtime::ModelError&) {
    return true;  // finish() meets it again and says so
  }
}

// Its pages go back; step() takes it off the list.
void RequestScheduler::finish(Sequence& sequence, std::string error) {
  release_pages(sequence);
  sequence.done = true;
  Answer answer{sequence.id, std::move(sequence.answer), {}, std::move(error)};
  try {
    answer.text = tokenizer_->decode(answer.tokens);
  } catch (const runtime::ModelError& unknown) {  // the model has more tokens than the tokenizer
    answer.error = fmt::format("request {}: {}", sequence.id, unknown.what());
  }
  if (const auto end = stop_in(answer.text, sequence.options.stop)) {
    answer.text.resize(*end);
  }
  finished_.push_back(std::move(answer));
}

}  // namespace desta::datagen
