#include "models/byte_level.h"

#include <array>
#include <map>

namespace desta::models {
namespace {

std::string encode_utf8(std::uint32_t code) {
  if (code < 0x80) {
    return {static_cast<char>(code)};
  }
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

struct Table {
  std::array<std::string, 256> character;
  std::map<std::string, unsigned char, std::less<>> byte;

  Table() {
    std::uint32_t next = 256;
    for (std::uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      character[b] = encode_utf8(printable ? b : next++);
      byte[character[b]] = static_cast<unsigned char>(b);
    }
  }
};

const Table& table() {
  static const Table instance;
  return instance;
}

// Bytes at text[at], which is ill-formed there, that one U+FFFD stands for: as many as begin some
// character, or one (Unicode's "maximal subpart"; what Rust and web browsers do).
std::size_t ill_formed_length(std::string_view text, std::size_t at) {
  constexpr std::string_view kContinuations[] = {"\x80", "\x90", "\xA0"};
  for (std::size_t length = 3; length > 1; --length) {
    if (at + length > text.size()) {
      continue;
    }
    // A beginning is one that continuation bytes make whole. The second byte's range depends on the
    // first, but once both are there any continuation fits.
    for (const auto byte : kContinuations) {
      std::string candidate(text.substr(at, length));
      while (candidate.size() < 4) {
        candidate += byte;
        if (utf8_length(candidate, 0) == candidate.size()) {
          return length;
        }
      }
    }
  }
  return 1;
}

}  // namespace

std::string to_byte_characters(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    text += table().character[static_cast<unsigned char>(c)];
  }
  return text;
}

std::optional<std::string> from_byte_characters(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    const auto found = table().byte.find(text.substr(i, length));
    if (length == 0 || found == table().byte.end()) {
      return std::nullopt;
    }
    bytes += static_cast<char>(found->second);
    i += length;
  }
  return bytes;
}

std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  std::size_t length = 0;
  if (first < 0x80) {
    return 1;
  }
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
  }
  if (length == 0 || at + length > text.size()) {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) {
      return 0;
    }
  }
  const unsigned char second = byte(at + 1);
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second > 0x9F;
  const bool too_large = first == 0xF4 && second > 0x8F;
  return overlong || surrogate || too_large ? 0 : length;
}

std::string repair_utf8(std::string_view text) {
  std::string good;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    if (length == 0) {
      good += "\xEF\xBF\xBD";
      i += ill_formed_length(text, i);
    } else {
      good.append(text.substr(i, length));
      i += length;
    }
  }
  return good;
}

}  // namespace desta::models
