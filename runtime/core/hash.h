// Content hashes: XXH3 (64 bit), for keys of records and for checksums that find accidental
// damage. Not for anything that an adversary may choose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace desta::runtime {

[[nodiscard]] std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed = 0);
[[nodiscard]] std::uint64_t hash64(std::string_view text, std::uint64_t seed = 0);

// Sixteen lower-case hexadecimal digits.
[[nodiscard]] std::string to_hex(std::uint64_t hash);

}  // namespace desta::runtime
