#include "runtime/transport/doorbell.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/wire.h"

namespace desta::runtime {
namespace {

// After a ring a rank looks for messages for 100 us at least (mpi_transport.cpp): for half of that
// no other ring is needed.
constexpr std::chrono::microseconds kRingAgainAfter{50};

static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

// What each rank tells the others.
struct Card {
  bool shares = false;  // there is a segment
  SharedSegment::Address segment;
  std::uint16_t port = 0;
  std::vector<std::uint32_t> addresses;  // IPv4 with its mask, in network byte order, in turn

  template <class Archive>
  void serialize(Archive& archive) {
    archive(shares, segment, port, addresses);
  }
};

std::vector<std::uint32_t> own_addresses() {
  std::vector<std::uint32_t> found;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) {
    return found;
  }
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr != nullptr && one->ifa_addr->sa_family == AF_INET &&
        (one->ifa_flags & IFF_UP) != 0 && (one->ifa_flags & IFF_LOOPBACK) == 0) {
      found.push_back(reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr.s_addr);
      found.push_back(reinterpret_cast<const sockaddr_in*>(one->ifa_netmask)->sin_addr.s_addr);
    }
  }
  freeifaddrs(all);
  return found;
}

// The peer's address in a network of ours, or else its first.
std::uint32_t reachable_address(const std::vector<std::uint32_t>& ours,
                                const std::vector<std::uint32_t>& theirs) {
  for (std::size_t i = 0; i + 1 < theirs.size(); i += 2) {
    for (std::size_t j = 0; j + 1 < ours.size(); j += 2) {
      if ((theirs[i] & theirs[i + 1]) == (ours[j] & ours[j + 1])) {
        return theirs[i];
      }
    }
  }
  return theirs.empty() ? htonl(INADDR_LOOPBACK) : theirs.front();
}

int bind_socket(bool loopback, std::uint16_t& port) {
  const int handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(loopback ? INADDR_LOOPBACK : INADDR_ANY);
  socklen_t length = sizeof(address);
  if (handle < 0 || bind(handle, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      getsockname(handle, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    throw TransportError("cannot open a datagram socket to be woken by: {}", std::strerror(errno));
  }
  port = address.sin_port;
  return handle;
}

void drain(int handle) {
  std::uint64_t bytes[8];
  while (read(handle, bytes, sizeof(bytes)) > 0) {
  }
}

}  // namespace

Doorbell::Doorbell(const MpiEnvironment& environment) : rank_(environment.rank()) {
  Card mine;
  try {
    segments_.push_back(SharedSegment::create(sizeof(Word)));
    mine.shares = true;
    mine.segment = segments_.back().address();
    mine_ = new (segments_.back().memory().get()) Word(0);
  } catch (const InternalError&) {
    own_ = std::make_unique<Word>(0);  // nobody sees it: everybody rings
    mine_ = own_.get();
  }
  socket_ = bind_socket(environment.local_size() == environment.size(), mine.port);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  mine.addresses = own_addresses();
  const auto cards = environment.all_gather(pack(mine));
  for (std::size_t rank = 0; rank < cards.size(); ++rank) {
    const auto card = unpack<Card>(cards[rank]);
    auto& peer = peers_.emplace_back(std::make_unique<Peer>());
    peer->address.sin_family = AF_INET;
    peer->address.sin_port = card.port;
    if (static_cast<int>(rank) != rank_) {
      auto segment = card.shares ? SharedSegment::open(card.segment, SharedSegment::Access::kWrite)
                                 : std::nullopt;
      if (segment.has_value()) {
        peer->awake = std::launder(reinterpret_cast<Word*>(segment->memory().get()));
        segments_.push_back(std::move(*segment));
      }
      peer->address.sin_addr.s_addr = peer->awake != nullptr
                                          ? htonl(INADDR_LOOPBACK)
                                          : reachable_address(mine.addresses, card.addresses);
    }
  }
  (void)environment.all_gather("");  // all have opened what they can
  for (SharedSegment& segment : segments_) {
    segment.close();
  }
}

Doorbell::~Doorbell() {
  close(socket_);
  close(wake_);
}

void Doorbell::set_awake(bool awake) { mine_->store(awake ? 1 : 0); }

void Doorbell::ring(int rank) {
  Peer& peer = *peers_[static_cast<std::size_t>(rank)];
  if (peer.awake != nullptr) {
    if (peer.awake->exchange(1) != 0) {
      return;
    }
  } else {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
    if (nanoseconds - peer.last_ring.load() < std::chrono::nanoseconds(kRingAgainAfter).count()) {
      return;
    }
    peer.last_ring = nanoseconds;
  }
  const char byte = 0;
  (void)sendto(socket_, &byte, 1, MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&peer.address),
               sizeof(peer.address));
}

void Doorbell::ring_here() {
  const std::uint64_t one = 1;
  (void)!write(wake_, &one, sizeof(one));
}

bool Doorbell::sleep() {
  pollfd handles[2] = {{socket_, POLLIN, 0}, {wake_, POLLIN, 0}};
  if (poll(handles, 2, static_cast<int>(kLongestSleep.count())) <= 0) {
    return false;
  }
  drain(socket_);
  drain(wake_);
  return true;
}

}  // namespace desta::runtime
