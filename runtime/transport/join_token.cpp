#include "runtime/transport/join_token.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"

namespace desta::runtime {
namespace fs = std::filesystem;
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

int hex_value(char digit) {
  if (digit >= '0' && digit <= '9') {
    return digit - '0';
  }
  return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

}  // namespace

JoinToken JoinToken::create(const fs::path& path) {
  const fs::file_status status = fs::symlink_status(path);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    throw ConfigError(
        "{}: the token is not written over what is no plain file; choose another path",
        path.string());
  }
  JoinToken token;
  token.secret_ = random_bytes();
  std::string line;
  for (const std::byte byte : token.secret_) {
    line += fmt::format("{:02x}", static_cast<unsigned>(byte));
  }
  line += '\n';
  publish_atomically(path, [&](const fs::path& temporary) {
    const FileDescriptor file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file.get() < 0 || ::fchmod(file.get(), 0600) != 0 ||
        ::write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
      throw InternalError("{}: cannot write the token: {}", path.string(), std::strerror(errno));
    }
  });
  OPENSSL_cleanse(line.data(), line.size());
  return token;
}

JoinToken JoinToken::read(const fs::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) {
    throw ConfigError("{}: cannot read the job's token: {}; copy it from the job's run folder",
                      path.string(), std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    throw ConfigError("{}: a token is a plain file", path.string());
  }
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    throw ConfigError("{}: others than the owner may read this token; chmod 600 {}", path.string(),
                      path.string());
  }
  JoinToken token;
  std::array<char, 2 * sizeof(token.secret_) + 2> text{};
  const ssize_t length = ::read(file.get(), text.data(), text.size());
  const auto digits = static_cast<ssize_t>(2 * token.secret_.size());
  bool good = length == digits || (length == digits + 1 && text[text.size() - 2] == '\n');
  for (std::size_t i = 0; good && i < token.secret_.size(); ++i) {
    const int high = hex_value(text[2 * i]);
    const int low = hex_value(text[2 * i + 1]);
    good = high >= 0 && low >= 0;
    token.secret_[i] = static_cast<std::byte>(high << 4 | low);
  }
  OPENSSL_cleanse(text.data(), text.size());
  if (!good) {
    throw ConfigError("{}: no token; it should be {} hexadecimal digits, as the job wrote them",
                      path.string(), digits);
  }
  return token;
}

JoinToken::~JoinToken() { OPENSSL_cleanse(secret_.data(), secret_.size()); }

JoinToken::Mac JoinToken::mac(std::string_view text) const {
  Mac result;
  unsigned int length = 0;
  const unsigned char* made = HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()),
                                   reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                                   reinterpret_cast<unsigned char*>(result.data()), &length);
  if (made == nullptr || length != result.size()) {
    throw InternalError("libcrypto cannot compute an HMAC-SHA256");
  }
  return result;
}

bool same_mac(const JoinToken::Mac& a, const JoinToken::Mac& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::array<std::byte, 32> random_bytes() {
  std::array<std::byte, 32> bytes;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) !=
      1) {
    throw InternalError("the system gives no random numbers");
  }
  return bytes;
}

}  // namespace desta::runtime
