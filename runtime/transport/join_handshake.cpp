#include "runtime/transport/join_handshake.h"

#include <algorithm>
#include <cstring>

#include "runtime/core/error.h"
#include "runtime/transport/join_options.h"

namespace desta::runtime {
namespace {

std::string number(std::uint32_t value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) {
    bytes.push_back(static_cast<char>(value >> shift & 0xff));
  }
  return bytes;
}

// Length (4 bytes, little-endian), then the bytes: no two lists of fields look the same.
void append_field(std::string& out, std::string_view field) {
  out += number(static_cast<std::uint32_t>(field.size()));
  out += field;
}

class FieldReader {
 public:
  explicit FieldReader(std::string_view bytes) : rest_(bytes) {}

  std::string_view field(std::size_t most) {
    const std::size_t length = take_number();
    if (length > most || length > rest_.size()) {
      throw TransportError("a field of {} bytes in the handshake; {} are left and {} allowed",
                           length, rest_.size(), most);
    }
    return take(length);
  }

  std::uint32_t take_number() {
    const std::string_view bytes = take(4);
    std::uint32_t value = 0;
    for (int i = 3; i >= 0; --i) {
      value = value << 8 | static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
    }
    return value;
  }

  std::array<std::byte, 32> bytes() { return decode_bytes(take(32)); }

  void expect_end() const {
    if (!rest_.empty()) {
      throw TransportError("{} bytes too many in the handshake", rest_.size());
    }
  }

 private:
  std::string_view take(std::size_t count) {
    if (count > rest_.size()) {
      throw TransportError("a frame of the handshake is {} bytes too short", count - rest_.size());
    }
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  std::string_view rest_;
};

std::string transcript(std::string_view label, const JoinHello& hello, const JoinNonce& challenge) {
  std::string text;
  append_field(text, label);
  append_field(text, encode_bytes(hello.nonce));
  append_field(text, encode_bytes(challenge));
  append_field(text, hello.build);
  append_field(text, hello.description);
  return text;
}

}  // namespace

std::string encode_bytes(const std::array<std::byte, 32>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::array<std::byte, 32> decode_bytes(std::string_view bytes) {
  std::array<std::byte, 32> result;
  if (bytes.size() != result.size()) {
    throw TransportError("{} bytes in the handshake where there should be {}", bytes.size(),
                         result.size());
  }
  std::memcpy(result.data(), bytes.data(), result.size());
  return result;
}

std::string encode_hello(const JoinHello& hello) {
  std::string out = encode_bytes(hello.nonce);
  append_field(out, hello.build);
  append_field(out, hello.description);
  return out;
}

JoinHello decode_hello(std::string_view bytes) {
  FieldReader reader(bytes);
  JoinHello hello;
  hello.nonce = reader.bytes();
  hello.build = reader.field(kMaxJoinBuild);
  hello.description = reader.field(kMaxJoinDescription);
  reader.expect_end();
  return hello;
}

std::string encode_welcome(const JoinWelcome& welcome) {
  std::string out = encode_bytes(welcome.proof);
  out += number(static_cast<std::uint32_t>(welcome.node));
  append_field(out, welcome.job);
  return out;
}

JoinWelcome decode_welcome(std::string_view bytes) {
  FieldReader reader(bytes);
  JoinWelcome welcome;
  welcome.proof = reader.bytes();
  welcome.node = static_cast<std::int32_t>(reader.take_number());
  welcome.job = reader.field(kMaxJoinDescription);
  reader.expect_end();
  return welcome;
}

JoinToken::Mac worker_proof(const JoinToken& token, const JoinHello& hello,
                            const JoinNonce& challenge) {
  return token.mac(transcript("desta join worker", hello, challenge));
}

JoinToken::Mac job_proof(const JoinToken& token, const JoinHello& hello, const JoinNonce& challenge,
                         std::int32_t node, std::string_view job) {
  std::string text = transcript("desta join job", hello, challenge);
  append_field(text, number(static_cast<std::uint32_t>(node)));
  append_field(text, job);
  return token.mac(text);
}

}  // namespace desta::runtime
