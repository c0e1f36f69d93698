#include "datagen/attribute_model.h"

#include <torch/script.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

#include "models/log_mel.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace {

using runtime::ModelError;

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  if (!in || bytes.empty()) {
    throw ModelError("{}: cannot read it, or it is empty; the card beside it names it", path.string());
  }
  return bytes;
}

std::string origin_of(const AttributeCard& card, const std::filesystem::path& path,
                      const std::string& model) {
  return fmt::format("{}@{}", card.name,
                     runtime::to_hex(runtime::hash64(model, runtime::hash64(bytes_of(path)))));
}

// LibTorch's messages go on for pages; the first line that says something.
std::string first_line(const std::string& message) {
  std::istringstream lines(message);
  std::string line;
  std::string last;
  while (std::getline(lines, line)) {
    // A TorchScript traceback ends with the error itself.
    if (line.starts_with("RuntimeError: ")) {
      return line.substr(14);
    }
    if (last.empty() && line.find_first_not_of(" \t") != std::string::npos) {
      last = line;
    }
  }
  return last;
}

}  // namespace

struct AttributeModel::State {
  AttributeCard card;
  std::string origin;
  // LibTorch's call is not const, though a frozen module's forward changes nothing.
  mutable torch::jit::Module module;
  std::optional<models::LogMel> log_mel;
  std::int64_t samples = 0;

  // [recordings, samples] or [recordings, bins, frames]
  [[nodiscard]] at::Tensor input(std::span<const Waveform> recordings) const {
    std::vector<at::Tensor> rows;
    for (const Waveform& recording : recordings) {
      if (log_mel) {
        rows.push_back((*log_mel)(recording.samples));
      } else {
        at::Tensor row = at::zeros({samples}, at::kFloat);
        std::copy_n(recording.samples.begin(),
                    std::min<std::size_t>(recording.samples.size(), static_cast<std::size_t>(samples)),
                    row.data_ptr<float>());
        rows.push_back(row);
      }
    }
    return at::stack(rows);
  }

  // One tensor of logits for each output.
  [[nodiscard]] std::vector<at::Tensor> logits(const at::Tensor& input) const {
    std::vector<at::Tensor> answers;
    try {
      const at::NoGradGuard no_grad;
      const c10::IValue answer = module.forward({input});
      if (answer.isTensor()) {
        answers.push_back(answer.toTensor());
      } else if (answer.isTuple()) {
        for (const c10::IValue& part : answer.toTupleRef().elements()) {
          answers.push_back(part.isTensor() ? part.toTensor() : at::Tensor());
        }
      } else if (answer.isTensorList()) {
        answers = answer.toTensorVector();
      }
    } catch (const std::exception& error) {
      throw ModelError("{}: it fails on its card's input {}: {}", card.model.string(),
                       fmt::format("{}", fmt::join(input.sizes(), " x ")), first_line(error.what()));
    }
    if (answers.size() != card.outputs.size()) {
      throw ModelError("{}: it gives {} tensors, and its card lists {} outputs", card.model.string(),
                       answers.size(), card.outputs.size());
    }
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const AttributeOutput& output = card.outputs[i];
      const std::vector<std::int64_t> wanted = {input.size(0),
                                                static_cast<std::int64_t>(output.labels.size())};
      if (!answers[i].defined() || answers[i].sizes() != at::IntArrayRef(wanted) ||
          !at::isFloatingType(answers[i].scalar_type())) {
        throw ModelError("{}: output '{}' must be logits of {} x {}, and is {}", card.model.string(),
                         output.attribute, wanted[0], wanted[1],
                         answers[i].defined()
                             ? fmt::format("{} x {}", answers[i].toString(),
                                           fmt::join(answers[i].sizes(), " x "))
                             : "no tensor");
      }
      answers[i] = answers[i].to(at::kDouble);
      if (!at::isfinite(answers[i]).all().item<bool>()) {
        throw ModelError("{}: output '{}' is not finite", card.model.string(), output.attribute);
      }
    }
    return answers;
  }
};

AttributeModel::AttributeModel(const std::filesystem::path& path)
    : state_(std::make_unique<State>()) {
  state_->card = read_attribute_card(path);
  const AttributeCard& card = state_->card;
  const std::string bytes = bytes_of(card.model);
  if (const std::string found = runtime::to_hex(runtime::hash64(bytes));
      !card.checksum.empty() && found != card.checksum) {
    throw ModelError("{}: its checksum is {}, and {} says {}: one of the two is not the right file",
                     card.model.string(), found, path.string(), card.checksum);
  }
  state_->origin = origin_of(card, path, bytes);
  try {
    std::istringstream stream(bytes);
    state_->module = torch::jit::load(stream, at::kCPU);
    state_->module.eval();
  } catch (const std::exception& error) {
    throw ModelError("{}: not a TorchScript model that this LibTorch can load: {}",
                     card.model.string(), first_line(error.what()));
  }
  state_->samples = static_cast<std::int64_t>(std::llround(card.seconds * kSampleRate));
  if (card.input == AttributeCard::Input::kLogMel) {
    state_->log_mel.emplace(card.bins, std::llround(card.seconds * 100));
  }
  const std::vector<Waveform> silence(2);
  static_cast<void>(state_->logits(state_->input(silence)));
}

AttributeModel::~AttributeModel() = default;
AttributeModel::AttributeModel(AttributeModel&&) noexcept = default;
AttributeModel& AttributeModel::operator=(AttributeModel&&) noexcept = default;

std::vector<Metadata> AttributeModel::operator()(std::span<const Waveform> recordings) const {
  std::vector<Metadata> result(recordings.size());
  if (recordings.empty()) {
    return result;
  }
  const std::vector<at::Tensor> answers = state_->logits(state_->input(recordings));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const AttributeOutput& output = state_->card.outputs[i];
    const auto [shares, labels] = at::softmax(answers[i], 1).max(1);
    for (std::size_t row = 0; row < recordings.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      const double share = shares[at].item<double>();
      if (share < output.minimum_confidence) {
        continue;
      }
      const std::string& label = output.labels[static_cast<std::size_t>(labels[at].item<std::int64_t>())];
      result[row].push_back({.name = output.attribute,
                             .text = label,
                             .word = label,
                             .number = {},
                             .unit = {},
                             .source = Source::kModel,
                             .confidence = std::round(1000 * share) / 1000,
                             .origin = state_->origin});
    }
  }
  return result;
}

const AttributeCard& AttributeModel::card() const { return state_->card; }

const std::string& AttributeModel::origin() const { return state_->origin; }

AttributeModels load_attribute_models(const std::vector<std::string>& cards) {
  AttributeModels models;
  for (const std::string& card : cards) {
    models.emplace_back(card);
  }
  return models;
}

std::string attribute_model_origin(const std::filesystem::path& path) {
  const AttributeCard card = read_attribute_card(path);
  return origin_of(card, path, bytes_of(card.model));
}

}  // namespace desta::datagen
