// The byte-to-character table of byte-level BPE (GPT-2, Radford et al. 2019): printable bytes stand
// for themselves, the others for characters from U+0100 on, so that every byte string is text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace desta::models {

// Bytes to their characters, as UTF-8.
[[nodiscard]] std::string to_byte_characters(std::string_view bytes);
// Back to bytes. Nothing when a character is not in the table.
[[nodiscard]] std::optional<std::string> from_byte_characters(std::string_view text);

// Well-formed UTF-8: each ill-formed byte becomes U+FFFD; bytes that begin a character and break off
// become one together (Unicode 15, section 3.9; so do Hugging Face's tokenizers).
[[nodiscard]] std::string repair_utf8(std::string_view text);

// Length in bytes of the UTF-8 character that starts at text[at]; 0 when it is ill-formed there.
[[nodiscard]] std::size_t utf8_length(std::string_view text, std::size_t at);

}  // namespace desta::models
