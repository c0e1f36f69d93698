// The frame reader and the handshake against whatever libFuzzer thinks of. See README.md.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "runtime/core/hash.h"
#include "runtime/transport/frame.h"
#include "runtime/transport/join_handshake.h"

namespace {

using desta::runtime::Frame;
using desta::runtime::FrameReader;
using desta::runtime::TransportError;

// Makes both checksums of a frame right, which no fuzzer would guess.
void sign(std::string& bytes) {
  if (bytes.size() < desta::runtime::kFrameHeaderBytes) {
    return;
  }
  const std::string_view all = bytes;
  const std::uint64_t payload =
      desta::runtime::hash64(all.substr(desta::runtime::kFrameHeaderBytes));
  std::memcpy(bytes.data() + 40, &payload, sizeof(payload));
  const std::uint64_t header = desta::runtime::hash64(all.substr(0, 48));
  std::memcpy(bytes.data() + 48, &header, sizeof(header));
}

void read_all(std::string_view bytes, std::size_t step) {
  FrameReader reader({.messages = true, .max_body = 1 << 20, .max_message = std::size_t{1} << 32});
  std::size_t seen = 0;
  const std::size_t total = bytes.size();
  try {
    while (!bytes.empty()) {
      std::size_t count = 0;
      for (const auto& place : reader.space()) {
        const std::size_t here = std::min({place.size(), bytes.size(), step - count});
        if (here != 0) {
          std::memcpy(place.data(), bytes.data(), here);
        }
        bytes.remove_prefix(here);
        count += here;
      }
      reader.filled(count);
      while (const auto frame = reader.next()) {
        seen += frame->message.bytes();
      }
    }
  } catch (const TransportError&) {
  }
  if (seen > total) {
    std::abort();  // more came out than went in
  }
}

void read_handshake(std::string_view bytes) {
  try {
    const auto hello = desta::runtime::decode_hello(bytes);
    if (desta::runtime::encode_hello(hello) != bytes) {
      std::abort();  // two texts that mean the same
    }
  } catch (const TransportError&) {
  }
  try {
    const auto welcome = desta::runtime::decode_welcome(bytes);
    if (desta::runtime::encode_welcome(welcome) != bytes) {
      std::abort();
    }
  } catch (const TransportError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  // The first byte says how: the bytes of a read, and whether the checksums are mended.
  const std::size_t step = std::size_t{1} << (data[0] & 15);
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  read_handshake(bytes);
  if ((data[0] & 16) != 0) {
    if (bytes.size() >= 4) {
      bytes.replace(0, 4, "dsta");
    }
    sign(bytes);
  }
  read_all(bytes, step);
  return 0;
}
