#include "datagen/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

using models::TokenId;

struct Row {
  std::size_t request = 0;
  runtime::Random random{0};
  std::vector<TokenId> tokens;
  std::int64_t limit = 0;  // tokens that it may grow by: its own, whatever its neighbours are
};

// Prompts padded behind to the longest: [batch, time, hidden].
at::Tensor pad_prompts(const std::vector<GenerationRequest>& requests,
                       const std::vector<Row>& rows, std::vector<std::int64_t>& counts) {
  std::int64_t longest = 0;
  for (const auto& row : rows) {
    counts.push_back(requests[row.request].embeddings.size(0));
    longest = std::max(longest, counts.back());
  }
  const at::Tensor& first = requests[rows.front().request].embeddings;
  at::Tensor batch = at::zeros(
      {static_cast<std::int64_t>(rows.size()), longest, first.size(1)}, first.options());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    batch[static_cast<std::int64_t>(i)].narrow(0, 0, counts[i]).copy_(
        requests[rows[i].request].embeddings);
  }
  return batch;
}

// Decodes one batch to its end; answers go to `answers` by request.
void decode_batch(const models::LanguageModel& model,
                  const std::vector<GenerationRequest>& requests, std::vector<Row> rows,
                  const DecodingOptions& options, TokenId stop,
                  std::vector<std::vector<TokenId>>& answers) {
  const models::SamplingOptions sampling{options.temperature, options.top_p};
  std::vector<std::int64_t> counts;
  at::Tensor input = pad_prompts(requests, rows, counts);
  std::int64_t capacity = input.size(1);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int64_t room = model.max_positions() - counts[i];
    if (room <= 0) {
      throw runtime::DataError("a prompt of {} positions leaves no room for an answer (the model has "
                               "{}); shorten the prompt",
                               counts[i], model.max_positions());
    }
    rows[i].limit = std::min(options.max_new_tokens, room);
    capacity = std::max(capacity, counts[i] + rows[i].limit);
  }
  models::KvCache cache = model.make_cache(static_cast<std::int64_t>(rows.size()), capacity);
  for (std::int64_t step = 0; !rows.empty(); ++step) {
    const at::Tensor logits = model.next_logits(input, counts, cache).to(at::kCPU);
    std::vector<std::int64_t> staying;
    std::vector<TokenId> next;
    std::vector<Row> kept;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const TokenId token = models::sample(logits[static_cast<std::int64_t>(i)], sampling,
                                           rows[i].random);
      if (token != stop) {
        rows[i].tokens.push_back(token);
      }
      if (token == stop || step + 1 >= rows[i].limit) {
        answers[rows[i].request] = std::move(rows[i].tokens);
      } else {
        staying.push_back(static_cast<std::int64_t>(i));
        next.push_back(token);
        kept.push_back(std::move(rows[i]));
      }
    }
    if (kept.size() < rows.size() && !kept.empty()) {
      cache.keep_rows(staying);
    }
    rows = std::move(kept);
    if (!rows.empty()) {
      input = model.embed(at::tensor(next, at::kLong).unsqueeze(1));
      counts.assign(rows.size(), 1);
    }
  }
}

}  // namespace

std::string DecodingOptions::describe() const {
  return fmt::format("max_new_tokens={} temperature={} top_p={}", max_new_tokens, temperature,
                     top_p);
}

std::vector<std::vector<TokenId>> generate(const models::LanguageModel& model,
                                           const std::vector<GenerationRequest>& requests,
                                           const DecodingOptions& options, TokenId stop,
                                           const std::function<void(std::size_t)>& progress) {
  const at::NoGradGuard no_grad;
  std::vector<std::size_t> order(requests.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return requests[a].embeddings.size(0) < requests[b].embeddings.size(0);
  });
  std::vector<std::vector<TokenId>> answers(requests.size());
  const auto batch_size = static_cast<std::size_t>(std::max<std::int64_t>(1, options.batch_size));
  for (std::size_t begin = 0; begin < order.size(); begin += batch_size) {
    const auto end = std::min(order.size(), begin + batch_size);
    std::vector<Row> rows;
    for (std::size_t i = begin; i < end; ++i) {
      rows.push_back({order[i], runtime::Random(requests[order[i]].seed), {}, 0});
    }
    decode_batch(model, requests, std::move(rows), options, stop, answers);
    if (progress) {
      progress(end);
    }
  }
  return answers;
}

}  // namespace desta::datagen
