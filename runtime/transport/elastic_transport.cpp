#include "runtime/transport/elastic_transport.h"

#include <utility>

#include "runtime/core/log.h"
#include "runtime/core/wire.h"

namespace desta::runtime {

ElasticTransport::~ElasticTransport() { stop(); }

void ElasticTransport::listen(const std::vector<std::string>& addresses, const JoinToken& token,
                              JoinOptions options) {
  if (node() != 0) {
    throw InternalError("workers join at node 0, not at node {}", node());
  }
  JoinEvents events;
  events.joined = [](int, const std::string&) {};  // the worker tells the rest itself
  events.message = [this](Message message) {
    listening_.wait(nullptr);  // its answer goes out there
    accept(std::move(message));
  };
  events.lost = [this](int node, const std::string& why) {
    if (lost_) {
      lost_(node, why);
    }
  };
  listener_ = std::make_unique<JoinListener>(addresses, token, node_count(), pack(node_count()),
                                             std::move(options), std::move(events));
  listening_ = listener_.get();
  listening_.notify_all();
}

std::vector<std::string> ElasticTransport::addresses() const {
  const JoinListener* const listener = listening_;
  return listener == nullptr ? std::vector<std::string>{} : listener->addresses();
}

void ElasticTransport::start(Handler handler) {
  handler_ = std::move(handler);
  ranks_.start([this](Message message) { accept(std::move(message)); });
}

void ElasticTransport::stop() {
  if (JoinListener* const listener = listening_; listener != nullptr) {
    listener->stop();
  }
  ranks_.stop();
}

void ElasticTransport::send(Message message) {
  const int to = message.to;
  if (to < node_count()) {
    ranks_.send(std::move(message));
  } else if (node() != 0) {
    ranks_.send_by(0, std::move(message));
  } else if (JoinListener* const listener = listening_; listener != nullptr) {
    try {
      listener->send(std::move(message));
    } catch (const PeerGone&) {
      // Who waits for an answer hears of it as of all that was under way when the worker was lost.
    }
  } else {
    throw TransportError("there is no node {}: the job has {}", to, node_count());
  }
}

std::size_t ElasticTransport::backlog(int node) const {
  const JoinListener* const listener = listening_;
  return node < node_count() || listener == nullptr ? ranks_.backlog(node)
                                                    : listener->backlog(node);
}

void ElasticTransport::accept(Message message) {
  const int from = message.from;
  const int to = message.to;
  if (to == node()) {
    handler_(std::move(message));
    return;
  }
  try {
    send(std::move(message));
  } catch (const Error& error) {
    JoinListener* const listener = listening_;
    if (to >= node_count() && listener != nullptr) {
      listener->drop(to, error.what());
    } else {
      log().error("a message from node {} for node {} was lost: {}", from, to, error.what());
    }
  }
}

JoinedTransport::JoinedTransport(const std::string& address, const JoinToken& token,
                                 JoinOptions options)
    : link_(address, token, "", std::move(options)), ranks_(unpack<int>(link_.job())) {}

void JoinedTransport::start(Handler handler) {
  link_.start(std::move(handler), [this](const std::string& why) {
    if (lost_) {
      lost_(0, why);
    }
  });
}

}  // namespace desta::runtime
