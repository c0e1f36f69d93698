#include "trainer/pipeline_generator.h"

#include <sched.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>

#include "models/torch_util.h"
#include "runtime/core/error.h"
#include "trainer/message_tags.h"

namespace desta::trainer {
namespace {

// The beginning of a message, as numbers; a plan and the rows' bytes follow.
constexpr std::int64_t kPause = -1;  // in the place of the stage
enum Head : std::size_t { kStage, kGroup, kPlanNumbers, kType, kWidth, kHeadNumbers };

// How much the newest measurement counts: the machine's pace drifts, and one piece may have been disturbed.
constexpr double kNewest = 0.25;

std::vector<std::int64_t> numbers_of(const models::StepPlan& plan) {
  std::vector<std::int64_t> numbers = {static_cast<std::int64_t>(plan.copies.size())};
  for (const auto& copy : plan.copies) {
    numbers.insert(numbers.end(), {copy.from, copy.to});
  }
  for (const auto& rows : plan.sequences) {
    numbers.insert(numbers.end(), {rows.first, rows.count, rows.wants_logits ? 1 : 0,
                                   static_cast<std::int64_t>(rows.pages.size())});
    numbers.insert(numbers.end(), rows.pages.begin(), rows.pages.end());
  }
  return numbers;
}

models::StepPlan plan_of(std::span<const std::int64_t> numbers) {
  models::StepPlan plan;
  auto at = numbers.begin();
  for (auto copies = *at++; copies > 0; --copies) {
    plan.copies.push_back({static_cast<models::PageId>(at[0]), static_cast<models::PageId>(at[1])});
    at += 2;
  }
  while (at != numbers.end()) {
    models::SequenceRows& rows = plan.sequences.emplace_back();
    rows.first = at[0];
    rows.count = at[1];
    rows.wants_logits = at[2] != 0;
    const auto pages = at[3];
    at += 4;
    rows.pages.assign(at, at + pages);
    at += pages;
  }
  return plan;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int magnitude(std::int64_t rows) { return std::bit_width(static_cast<std::uint64_t>(rows)); }

}  // namespace

// Requests whose steps are made together.
struct PipelineGenerator::Group {
  explicit Group(datagen::RequestScheduler requests) : scheduler(std::move(requests)) {}
  datagen::RequestScheduler scheduler;
  std::vector<std::uint64_t> numbers;  // the caller's, by request
  bool under_way = false;              // a step of it is somewhere in the pipeline
};

PipelineGenerator::PipelineGenerator(std::map<std::int64_t, const models::Llama*> parts,
                                     const models::Llama* embedding, std::int64_t first, std::int64_t stages,
                                     runtime::Communicator& pipeline,
                                     const models::Tokenizer& tokenizer,
                                     const models::LlamaConfig& config,
                                     const datagen::DecodingOptions& options, std::int64_t groups)
    : parts_(std::move(parts)),
      embedding_(embedding),
      first_(first),
      stages_(stages),
      pipeline_(pipeline),
      format_(tokenizer),
      options_(options) {
  const int ranks = pipeline.size();
  const int before = (pipeline.rank() + ranks - 1) % ranks;
  if (ranks > 1) {
    peers_.push_back(before);
    if (pipeline.rank() == rank_of(first_) && rank_of(stages_ - 1) != before) {
      peers_.push_back(rank_of(stages_ - 1));
    }
  }
  // A page is as large as on the rank that has most of it, and all pools have the same number.
  std::int64_t own_bytes = 0;
  for (const auto& [stage, llama] : parts_) {
    own_bytes += llama->page_bytes();
  }
  std::int64_t page_bytes = own_bytes;
  pipeline_.all_reduce(&page_bytes, 1, runtime::DType::kInt64, runtime::ReduceOp::kMax);
  datagen::EngineOptions engine = options.engine();
  engine.cache_bytes /= groups;
  // A piece is what a training pass may have to wait for: prompts are read in pieces no longer than the answers'.
  engine.prompt_rows = std::max<std::int64_t>(engine.most_running, 16);
  const datagen::ModelRoom room{config.max_position_embeddings, page_bytes};
  pages_.resize(static_cast<std::size_t>(groups));
  for (std::int64_t group = 0; group < groups; ++group) {
    datagen::RequestScheduler scheduler(tokenizer, format_.end_of_turn(), engine, room);
    for (const auto& [stage, llama] : parts_) {
      pages_[static_cast<std::size_t>(group)][stage] = llama->make_pages(scheduler.pages());
    }
    if (leads()) {
      groups_.push_back(std::make_unique<Group>(std::move(scheduler)));
    }
  }
}

PipelineGenerator::~PipelineGenerator() = default;

int PipelineGenerator::rank_of(std::int64_t stage) const {
  return static_cast<int>(stage % pipeline_.size());
}

bool PipelineGenerator::leads() const { return parts_.contains(stages_ - 1); }

// Requests that begin alike, as those of one seed transcript do, share what they have in common only within a
// group: one goes where the one before it went if it has half of its prompt from it.
std::size_t PipelineGenerator::group_for(const std::vector<models::TokenId>& prompt) const {
  const auto same = std::ranges::mismatch(prompt, last_prompt_).in1 - prompt.begin();
  const auto load = [&](std::size_t group) { return groups_[group]->scheduler.unanswered(); };
  if (2 * same > static_cast<std::ptrdiff_t>(prompt.size()) &&
      load(last_group_) < static_cast<std::size_t>(2 * options_.batch_size)) {
    return last_group_;
  }
  std::size_t least = 0;
  for (std::size_t group = 1; group < groups_.size(); ++group) {
    least = load(group) < load(least) ? group : least;
  }
  return least;
}

void PipelineGenerator::add(const std::vector<TextOrder>& orders) {
  for (const TextOrder& order : orders) {
    datagen::GenerationRequest request{.seed = order.seed,
                                       .tokens = models::text_prompt(format_, order.text)};
    const std::size_t group = group_for(request.tokens);
    last_group_ = group;
    last_prompt_ = request.tokens;
    groups_[group]->scheduler.add(std::move(request), options_.answer());
    groups_[group]->numbers.push_back(order.number);
  }
}

std::vector<WrittenText> PipelineGenerator::take_written() { return std::exchange(written_, {}); }

std::size_t PipelineGenerator::unanswered() const {
  std::size_t total = 0;
  for (const auto& group : groups_) {
    total += group->scheduler.unanswered();
  }
  return total;
}

void PipelineGenerator::send(const std::vector<std::int64_t>& head, const at::Tensor& rows, int to) {
  const std::size_t numbers = head.size() * sizeof(std::int64_t);
  const std::size_t rest = rows.defined() ? models::byte_size(rows) : 0;
  at::Tensor bytes = at::empty({static_cast<std::int64_t>(numbers + rest)}, at::kByte);
  std::memcpy(bytes.data_ptr(), head.data(), numbers);
  if (rest > 0) {
    std::memcpy(bytes.data_ptr<std::uint8_t>() + numbers, rows.data_ptr(), rest);
  }
  auto work = pipeline_.send_async(bytes.data_ptr(), models::byte_size(bytes), to, kGenerationTag);
  pending_.push_back({std::move(bytes), std::move(work)});
}

void PipelineGenerator::deliver(Piece piece) {
  const int to = rank_of(piece.stage);
  if (to == pipeline_.rank()) {
    pieces_.push_back(std::move(piece));
    return;
  }
  const at::Tensor rows = piece.rows.to(at::kCPU).contiguous();
  const std::vector<std::int64_t> plan = numbers_of(piece.plan);
  std::vector<std::int64_t> head(kHeadNumbers);
  head[kStage] = piece.stage;
  head[kGroup] = piece.group;
  head[kPlanNumbers] = static_cast<std::int64_t>(plan.size());
  head[kType] = static_cast<std::int64_t>(rows.scalar_type());
  head[kWidth] = rows.size(1);
  head.insert(head.end(), plan.begin(), plan.end());
  send(head, rows, to);
}

void PipelineGenerator::take_message(int from, std::size_t size) {
  std::vector<std::byte> bytes(size);
  pipeline_.receive(bytes.data(), size, from, kGenerationTag);
  std::int64_t head[kHeadNumbers];
  std::memcpy(head, bytes.data(), sizeof(head));
  if (head[kStage] == kPause) {
    ++pauses_;
    send_pause();
    return;
  }
  std::vector<std::int64_t> plan(static_cast<std::size_t>(head[kPlanNumbers]));
  std::memcpy(plan.data(), bytes.data() + sizeof(head), plan.size() * sizeof(std::int64_t));
  Piece piece{head[kStage], head[kGroup], plan_of(plan), {}};
  piece.rows = at::empty({piece.plan.rows(), head[kWidth]}, static_cast<at::ScalarType>(head[kType]));
  std::memcpy(piece.rows.data_ptr(), bytes.data() + sizeof(head) + plan.size() * sizeof(std::int64_t),
              models::byte_size(piece.rows));
  pieces_.push_back(std::move(piece));
}

void PipelineGenerator::collect() {
  std::erase_if(pending_, [](const Pending& pending) { return pending.work->done(); });
  for (const int peer : peers_) {
    while (const auto size = pipeline_.waiting_message(peer, kGenerationTag)) {
      take_message(peer, *size);
    }
  }
  begin_steps();
}

void PipelineGenerator::begin_steps() {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    Group& group = *groups_[i];
    if (!begins_ || group.under_way || group.scheduler.unanswered() == 0) {
      continue;
    }
    auto plan = group.scheduler.begin_step();
    if (!plan.has_value() || plan->sequences.empty()) {
      continue;
    }
    group.under_way = true;
    at::Tensor rows = group.scheduler.embeddings(*embedding_);
    deliver({first_, static_cast<std::int64_t>(i), std::move(*plan), std::move(rows)});
  }
}

std::optional<double> PipelineGenerator::next_seconds() {
  if (pieces_.empty()) {
    collect();
  }
  if (pieces_.empty()) {
    return std::nullopt;
  }
  const auto known = seconds_.find(magnitude(pieces_.front().plan.rows()));
  return known == seconds_.end() ? 0 : known->second;
}

bool PipelineGenerator::advance() {
  collect();
  if (pieces_.empty()) {
    return false;
  }
  Piece piece = std::move(pieces_.front());
  pieces_.pop_front();
  const int size = magnitude(piece.plan.rows());
  const auto began = std::chrono::steady_clock::now();
  run_piece(std::move(piece));
  const double took = seconds_since(began);
  work_.seconds += took;
  const auto [known, fresh] = seconds_.try_emplace(size, took);
  if (!fresh) {
    known->second += kNewest * (took - known->second);
  }
  return true;
}

void PipelineGenerator::run_piece(Piece piece) {
  const at::NoGradGuard no_grad;
  const models::Llama& llama = *parts_.at(piece.stage);
  at::Tensor out = llama.step(piece.rows.to(llama.device()), piece.plan,
                              *pages_[static_cast<std::size_t>(piece.group)].at(piece.stage));
  if (piece.stage + 1 < stages_) {
    piece.rows = std::move(out);
    ++piece.stage;
    deliver(std::move(piece));
    return;
  }
  Group& group = *groups_[static_cast<std::size_t>(piece.group)];
  group.scheduler.finish_step(out);
  group.under_way = false;
  for (auto& answer : group.scheduler.take_finished()) {
    std::erase(answer.text, '\0');
    work_.tokens += static_cast<std::int64_t>(answer.tokens.size());
    written_.push_back({group.numbers[static_cast<std::size_t>(answer.id)], std::move(answer.text),
                        std::move(answer.error), static_cast<std::int64_t>(answer.tokens.size())});
    ++written_in_all_;
  }
  begin_steps();
}

// The leader tells the next rank, which tells the next.
void PipelineGenerator::send_pause() {
  const int next = (pipeline_.rank() + 1) % pipeline_.size();
  if (next != rank_of(stages_ - 1)) {
    std::vector<std::int64_t> head(kHeadNumbers);
    head[kStage] = kPause;
    send(head, {}, next);
  }
}

bool PipelineGenerator::is_under_way() const {
  return std::ranges::any_of(groups_, [](const auto& group) { return group->under_way; });
}

template <typename Enough>
void PipelineGenerator::serve(const Enough& enough) {
  ++runs_;
  while (leads() ? !enough() : pauses_ < runs_) {
    if (!advance()) {
      sched_yield();
    }
  }
  if (leads()) {
    send_pause();
  }
}

void PipelineGenerator::run(std::int64_t texts) {
  const std::int64_t goal = written_in_all_ + texts;
  serve([&] { return written_in_all_ >= goal || unanswered() == 0; });
}

void PipelineGenerator::finish() {
  begins_ = false;
  serve([&] { return !is_under_way(); });
  for (Pending& pending : pending_) {
    pending.work->wait();
  }
  pending_.clear();
}

GenerationWork PipelineGenerator::take_work() { return std::exchange(work_, {}); }

}  // namespace desta::trainer
