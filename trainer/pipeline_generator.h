// Text generation on the LLM whose parts the stages of a training pipeline hold anyway: no second copy of it.
// Each rank has one of these. Several groups of requests are under way at once; a group's rows go from stage
// to stage as messages, and each rank runs what lies there when it is told to: in the gaps of a training step
// (executor.h), or all the time (run()).
//
// A text is the same to the bit as that of a GenerationEngine over the whole LLM (datagen/request_scheduler.h).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "datagen/generation.h"
#include "datagen/request_scheduler.h"
#include "models/chat_format.h"
#include "models/llama.h"
#include "models/tokenizer.h"
#include "runtime/collectives/communicator.h"

namespace desta::trainer {

// A single user turn that is to be answered. Its number is the caller's.
struct TextOrder {
  std::uint64_t number = 0;
  std::string text;
  std::uint64_t seed = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number, text, seed);
  }
};

struct WrittenText {
  std::uint64_t number = 0;
  std::string text;
  std::string error;       // one line, if something went wrong
  std::int64_t tokens = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number, text, error, tokens);
  }
};

// What generation has taken on one rank.
struct GenerationWork {
  double seconds = 0;        // of this rank
  std::int64_t tokens = 0;   // of answers that were finished; on the leader
};

class PipelineGenerator {
 public:
  // `parts`: this rank's parts of the LLM, by stage; stage s lies on rank s modulo the pipeline's size, the last
  // of `stages` has the head, `first` is the first with layers. `embedding`: a part that has it, on the rank with
  // the head; there rows begin and end, so that a rank without layers has nothing to do with them. All of
  // these, pipeline and tokenizer must live as long as this.
  // `options`: batch_size requests a group, cache_mib for all groups of a rank. Throws ConfigError when that
  // holds no page.
  PipelineGenerator(std::map<std::int64_t, const models::Llama*> parts, const models::Llama* embedding,
                    std::int64_t first, std::int64_t stages, runtime::Communicator& pipeline,
                    const models::Tokenizer& tokenizer, const models::LlamaConfig& config,
                    const datagen::DecodingOptions& options, std::int64_t groups);
  ~PipelineGenerator();

  // Whether this rank has the head: it takes requests and gives texts.
  [[nodiscard]] bool leads() const;
  // On the leader. Throws DataError as RequestScheduler::add() does, naming the order.
  void add(const std::vector<TextOrder>& orders);
  // On the leader: texts that have been finished since the last call.
  [[nodiscard]] std::vector<WrittenText> take_written();
  // On the leader: orders that have no text yet.
  [[nodiscard]] std::size_t unanswered() const;

  // How long the piece that lies here will take [s], judged by earlier ones; 0 when there was none like it.
  // Nothing: no piece lies here.
  [[nodiscard]] std::optional<double> next_seconds();
  // Takes the piece that lies here, one group's rows, through its stage. False: none does.
  bool advance();
  // Does nothing else until the leader has so many texts more, or all. All ranks of the pipeline call it, with
  // the same number.
  void run(std::int64_t texts);
  // Brings home what is under way and begins nothing more: after that no message is left between ranks. All
  // ranks of the pipeline call it.
  void finish();

  // Since the last call.
  [[nodiscard]] GenerationWork take_work();

 private:
  // One group's rows in front of a stage.
  struct Piece {
    std::int64_t stage = 0;
    std::int64_t group = 0;
    models::StepPlan plan;
    at::Tensor rows;  // [n, hidden]
  };
  struct Group;
  struct Pending {
    at::Tensor bytes;
    std::unique_ptr<runtime::Work> work;
  };

  [[nodiscard]] int rank_of(std::int64_t stage) const;
  // Takes what has arrived, and on the leader begins the steps that can be.
  void collect();
  void take_message(int from, std::size_t bytes);
  void begin_steps();
  [[nodiscard]] bool is_under_way() const;
  // Works until the leader has what `enough` waits for.
  template <typename Enough>
  void serve(const Enough& enough);
  void deliver(Piece piece);
  void send(const std::vector<std::int64_t>& head, const at::Tensor& rows, int to);
  void send_pause();
  void run_piece(Piece piece);
  [[nodiscard]] std::size_t group_for(const std::vector<models::TokenId>& prompt) const;

  std::map<std::int64_t, const models::Llama*> parts_;
  const models::Llama* embedding_;
  std::int64_t first_;
  std::int64_t stages_;
  runtime::Communicator& pipeline_;
  models::ChatFormat format_;
  datagen::DecodingOptions options_;
  std::vector<int> peers_;         // from whom messages come
  std::vector<std::map<std::int64_t, std::unique_ptr<models::KvPages>>> pages_;  // by group and stage
  std::vector<std::unique_ptr<Group>> groups_;  // on the leader
  std::size_t last_group_ = 0;                  // that got a request
  std::vector<models::TokenId> last_prompt_;
  std::deque<Piece> pieces_;
  std::vector<Pending> pending_;
  std::map<int, double> seconds_;  // of pieces, by the magnitude of their rows
  std::vector<WrittenText> written_;
  std::int64_t written_in_all_ = 0;
  std::int64_t runs_ = 0;    // calls of serve()
  std::int64_t pauses_ = 0;  // ends of those that this rank was told of
  bool begins_ = true;       // further steps
  GenerationWork work_;
};

}  // namespace desta::trainer
