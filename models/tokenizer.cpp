#include "models/tokenizer.h"

#include <fstream>
#include <limits>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "models/byte_level.h"
#include "models/split_pattern.h"
#include "runtime/core/error.h"

namespace desta::models {
namespace fs = std::filesystem;
using nlohmann::json;
using runtime::ModelError;

namespace {

constexpr std::size_t kPieceCacheEntries = 1 << 16;

std::uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint64_t>(right);
}

}  // namespace

struct Tokenizer::State {
  struct Merge {
    std::int64_t rank;
    TokenId result;
  };
  struct AddedToken {
    std::string text;
    TokenId id;
    bool special;
  };

  fs::path path;
  std::unordered_map<std::string, TokenId> vocabulary;
  std::vector<std::string> spelling;  // by id: bytes of a vocabulary entry, text of an added token
  std::vector<bool> special;          // by id
  std::unordered_map<std::uint64_t, Merge> merges;
  std::map<std::string, TokenId, std::greater<>> added;  // longer before its own prefix
  std::vector<SplitPattern> patterns;
  bool ignore_merges = false;
  mutable std::mutex mutex;
  mutable std::unordered_map<std::string, std::vector<TokenId>> cache;

  void read(const json& file);
  void read_model(const json& model);
  void read_pre_tokenizer(const json& step);
  void place(TokenId id, std::string text, bool is_special);
  void encode_piece(std::string_view piece, std::vector<TokenId>& out) const;
  [[nodiscard]] std::vector<TokenId> merge(const std::string& characters) const;
  void encode_stretch(std::string_view text, std::vector<TokenId>& out) const;
};

void Tokenizer::State::place(TokenId id, std::string text, bool is_special) {
  constexpr TokenId kLargest = 1 << 24;
  if (id < 0 || id > kLargest) {
    throw ModelError("{}: token '{}' has the impossible id {}", path.string(), text, id);
  }
  const auto index = static_cast<std::size_t>(id);
  if (index >= spelling.size()) {
    spelling.resize(index + 1);
    special.resize(index + 1, false);
  }
  spelling[index] = std::move(text);
  special[index] = is_special;
}

void Tokenizer::State::read_model(const json& model) {
  if (model.value("type", std::string("BPE")) != "BPE") {
    throw ModelError("{}: tokenizer model '{}' is not supported; byte-level BPE is needed",
                     path.string(), model.value("type", std::string()));
  }
  ignore_merges = model.value("ignore_merges", false);
  for (const auto& [text, id] : model.at("vocab").items()) {
    vocabulary[text] = id.get<TokenId>();
    const auto bytes = from_byte_characters(text);
    place(id.get<TokenId>(), bytes.value_or(text), false);
  }
  std::int64_t rank = 0;
  for (const auto& entry : model.at("merges")) {
    std::string left;
    std::string right;
    if (entry.is_array()) {
      left = entry.at(0).get<std::string>();
      right = entry.at(1).get<std::string>();
    } else {
      const auto line = entry.get<std::string>();
      const auto space = line.find(' ');
      left = line.substr(0, space);
      right = space == std::string::npos ? "" : line.substr(space + 1);
    }
    const auto a = vocabulary.find(left);
    const auto b = vocabulary.find(right);
    const auto both = vocabulary.find(left + right);
    if (a == vocabulary.end() || b == vocabulary.end() || both == vocabulary.end()) {
      throw ModelError("{}: merge {} ('{}' '{}') is not in the vocabulary", path.string(), rank,
                       left, right);
    }
    merges[pair_key(a->second, b->second)] = {rank++, both->second};
  }
}

void Tokenizer::State::read_pre_tokenizer(const json& step) {
  const auto type = step.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const auto& inner : step.at("pretokenizers")) {
      read_pre_tokenizer(inner);
    }
  } else if (type == "Split") {
    const json& pattern = step.at("pattern");
    if (!pattern.contains("Regex") || step.value("invert", false) ||
        step.value("behavior", std::string("Isolated")) != "Isolated") {
      throw ModelError("{}: only an isolating regular expression split is supported",
                       path.string());
    }
    const auto expression = pattern.at("Regex").get<std::string>();
    try {
      patterns.emplace_back(expression);
    } catch (const ModelError& error) {
      throw ModelError("{}: {}", path.string(), error.what());
    }
  } else if (type == "ByteLevel") {
    if (step.value("add_prefix_space", false)) {
      throw ModelError("{}: add_prefix_space is not supported", path.string());
    }
    if (step.value("use_regex", true)) {
      patterns.emplace_back(kGpt2Pattern);
    }
  } else {
    throw ModelError("{}: pre-tokenizer '{}' is not supported", path.string(), type);
  }
}

void Tokenizer::State::read(const json& file) {
  if (file.contains("normalizer") && !file.at("normalizer").is_null()) {
    throw ModelError("{}: a normaliser is not supported", path.string());
  }
  read_model(file.at("model"));
  read_pre_tokenizer(file.at("pre_tokenizer"));
  for (const auto& entry : file.value("added_tokens", json::array())) {
    const auto text = entry.at("content").get<std::string>();
    const auto id = entry.at("id").get<TokenId>();
    added[text] = id;
    place(id, text, entry.value("special", true));
  }
}

std::vector<TokenId> Tokenizer::State::merge(const std::string& characters) const {
  std::vector<TokenId> symbols;
  for (std::size_t i = 0; i < characters.size();) {
    const std::size_t length = utf8_length(characters, i);
    const auto found = vocabulary.find(characters.substr(i, length));
    if (found == vocabulary.end()) {
      throw ModelError("{}: the vocabulary lacks the byte character '{}'", path.string(),
                       characters.substr(i, length));
    }
    symbols.push_back(found->second);
    i += length;
  }
  while (symbols.size() > 1) {
    Merge best{std::numeric_limits<std::int64_t>::max(), 0};
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = merges.find(pair_key(symbols[i], symbols[i + 1]));
      if (found != merges.end() && found->second.rank < best.rank) {
        best = found->second;
        where = i;
      }
    }
    if (best.rank == std::numeric_limits<std::int64_t>::max()) {
      break;
    }
    symbols[where] = best.result;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  return symbols;
}

void Tokenizer::State::encode_piece(std::string_view piece, std::vector<TokenId>& out) const {
  const std::string characters = to_byte_characters(piece);
  if (ignore_merges) {
    const auto whole = vocabulary.find(characters);
    if (whole != vocabulary.end()) {
      out.push_back(whole->second);
      return;
    }
  }
  {
    const std::lock_guard lock(mutex);
    const auto found = cache.find(characters);
    if (found != cache.end()) {
      out.insert(out.end(), found->second.begin(), found->second.end());
      return;
    }
  }
  std::vector<TokenId> symbols = merge(characters);
  out.insert(out.end(), symbols.begin(), symbols.end());
  const std::lock_guard lock(mutex);
  if (cache.size() >= kPieceCacheEntries) {
    cache.clear();
  }
  cache.emplace(characters, std::move(symbols));
}

void Tokenizer::State::encode_stretch(std::string_view text, std::vector<TokenId>& out) const {
  std::vector<std::string_view> pieces = {text};
  for (const auto& pattern : patterns) {
    std::vector<std::string_view> finer;
    for (const auto piece : pieces) {
      const auto parts = pattern.split(piece);
      finer.insert(finer.end(), parts.begin(), parts.end());
    }
    pieces = std::move(finer);
  }
  for (const auto piece : pieces) {
    encode_piece(piece, out);
  }
}

Tokenizer::Tokenizer(const fs::path& folder) : state_(std::make_unique<State>()) {
  state_->path = folder / "tokenizer.json";
  std::ifstream in(state_->path);
  if (!in) {
    throw ModelError("{}: cannot read it; the model folder needs its tokenizer.json",
                     state_->path.string());
  }
  try {
    state_->read(json::parse(in));
  } catch (const json::exception& error) {
    throw ModelError("{}: not a valid tokenizer: {}", state_->path.string(), error.what());
  }
}

Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::encode_plain(std::string_view text) const {
  std::vector<TokenId> out;
  if (!text.empty()) {
    state_->encode_stretch(repair_utf8(text), out);
  }
  return out;
}

std::vector<TokenId> Tokenizer::encode(std::string_view raw) const {
  const std::string text = repair_utf8(raw);
  std::vector<TokenId> out;
  std::size_t plain_begin = 0;
  std::size_t i = 0;
  const auto flush = [&](std::size_t end) {
    if (end > plain_begin) {
      state_->encode_stretch(std::string_view(text).substr(plain_begin, end - plain_begin), out);
    }
  };
  while (i < text.size()) {
    const std::string_view rest = std::string_view(text).substr(i);
    const std::pair<const std::string, TokenId>* match = nullptr;
    for (const auto& entry : state_->added) {
      if (rest.starts_with(entry.first) &&
          (match == nullptr || entry.first.size() > match->first.size())) {
        match = &entry;
      }
    }
    if (match == nullptr || match->first.empty()) {
      ++i;
      continue;
    }
    flush(i);
    out.push_back(match->second);
    i += match->first.size();
    plain_begin = i;
  }
  flush(text.size());
  return out;
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool with_special) const {
  std::string bytes;
  for (const auto token : tokens) {
    const auto index = static_cast<std::size_t>(token);
    if (token < 0 || index >= state_->spelling.size()) {
      throw ModelError("{}: token {} is not in the vocabulary", state_->path.string(), token);
    }
    if (with_special || !state_->special[index]) {
      bytes += state_->spelling[index];
    }
  }
  return repair_utf8(bytes);
}

std::optional<TokenId> Tokenizer::find(std::string_view token) const {
  const std::string text(token);
  if (const auto added = state_->added.find(text); added != state_->added.end()) {
    return added->second;
  }
  if (const auto plain = state_->vocabulary.find(to_byte_characters(token));
      plain != state_->vocabulary.end()) {
    return plain->second;
  }
  return std::nullopt;
}

TokenId Tokenizer::require(std::string_view token) const {
  const auto id = find(token);
  if (!id.has_value()) {
    throw ModelError("{}: the special token '{}' is missing; this tokenizer does not fit the model",
                     state_->path.string(), token);
  }
  return *id;
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(state_->spelling.size());
}

}  // namespace desta::models
