// What a worker and a job say to each other before the first message:
//
//   worker  hello      nonce, build, description
//   job     challenge  nonce
//   worker  proof      HMAC(token, "desta join worker", both nonces, build, description)
//   job     welcome    HMAC(token, "desta join job", the same, node, job), node, job
//
// Both nonces are random and used once, so an old proof proves nothing; the two labels differ, so
// neither side's proof can be sent back to it. The functions know no socket. Those that read throw
// TransportError on bytes that are no such thing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/transport/join_token.h"

namespace desta::runtime {

using JoinNonce = std::array<std::byte, 32>;

struct JoinHello {
  JoinNonce nonce{};
  std::string build;        // up to kMaxJoinBuild
  std::string description;  // up to kMaxJoinDescription
};

struct JoinWelcome {
  JoinToken::Mac proof{};
  std::int32_t node = 0;
  std::string job;  // up to kMaxJoinDescription
};

[[nodiscard]] std::string encode_hello(const JoinHello& hello);
[[nodiscard]] JoinHello decode_hello(std::string_view bytes);

// A nonce or a proof: 32 bytes as they are.
[[nodiscard]] std::string encode_bytes(const std::array<std::byte, 32>& bytes);
[[nodiscard]] std::array<std::byte, 32> decode_bytes(std::string_view bytes);

[[nodiscard]] std::string encode_welcome(const JoinWelcome& welcome);
[[nodiscard]] JoinWelcome decode_welcome(std::string_view bytes);

[[nodiscard]] JoinToken::Mac worker_proof(const JoinToken& token, const JoinHello& hello,
                                          const JoinNonce& challenge);
[[nodiscard]] JoinToken::Mac job_proof(const JoinToken& token, const JoinHello& hello,
                                       const JoinNonce& challenge, std::int32_t node,
                                       std::string_view job);

}  // namespace desta::runtime
