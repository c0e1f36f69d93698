#include "models/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "runtime/core/error.h"

namespace desta::models {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

// PCRE2's \s holds U+180E, which Unicode 6.3 took out of the spaces and Hugging Face's library
// (with Oniguruma) does not count. So \s and \S are spelt out as Unicode's White_Space.
std::string spell_out_spaces(std::string_view expression) {
  constexpr std::string_view kSpaces = R"(\t-\r\x{85}\p{Z})";
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (c == '\\' && i + 1 < expression.size()) {
      const char escaped = expression[++i];
      if (escaped == 's' && in_class) {
        out += kSpaces;
      } else if (escaped == 's' || (escaped == 'S' && !in_class)) {
        out += (escaped == 's' ? "[" : "[^") + std::string(kSpaces) + "]";
      } else {
        out += {c, escaped};
      }
      continue;
    }
    in_class = c == '[' || (in_class && c != ']');
    out += c;
  }
  return out;
}

}  // namespace

SplitPattern::SplitPattern(const std::string& expression) {
  const std::string spelt = spell_out_spaces(expression);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelt.data()), spelt.size(),
                                   PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (code == nullptr) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof(message));
    throw runtime::ModelError("split pattern '{}': {} at {}", expression,
                              reinterpret_cast<char*>(message), offset);
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  code_ =
      std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
}

std::vector<std::string_view> SplitPattern::split(std::string_view text) const {
  auto* code = static_cast<pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match(
      pcre2_match_data_create_from_pattern(code, nullptr), pcre2_match_data_free);
  std::vector<std::string_view> pieces;
  std::size_t done = 0;
  std::size_t start = 0;
  while (start <= text.size()) {
    const int count = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                  start, PCRE2_NO_UTF_CHECK, match.get(), nullptr);
    if (count < 0) {
      break;
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
    if (range[1] == range[0]) {
      start = range[1] + 1;
      continue;
    }
    if (range[0] > done) {
      pieces.push_back(text.substr(done, range[0] - done));
    }
    pieces.push_back(text.substr(range[0], range[1] - range[0]));
    done = start = range[1];
  }
  if (done < text.size()) {
    pieces.push_back(text.substr(done));
  }
  return pieces;
}

}  // namespace desta::models
