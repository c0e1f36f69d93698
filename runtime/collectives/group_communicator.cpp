#include "runtime/collectives/group_communicator.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/collectives/choice.h"
#include "runtime/collectives/choice_measurement.h"
#include "runtime/collectives/flat_algorithms.h"
#include "runtime/collectives/hierarchical.h"
#include "runtime/collectives/host_collectives.h"
#include "runtime/collectives/message_collectives.h"
#include "runtime/collectives/message_work.h"
#include "runtime/collectives/operation_queue.h"
#include "runtime/collectives/peer_group.h"
#include "runtime/core/error.h"
#include "runtime/core/host_name.h"

namespace desta::runtime {
namespace {

using Kind = Operation::Kind;

// Every rank's host, as told by the rank itself.
std::vector<std::string> gather_hosts(PeerLinks& links, const GroupOptions& options,
                                      const Operation& operation) {
  // Until the names are known, ranks have none.
  FailureWatch watch(links, std::vector<std::string>(static_cast<std::size_t>(links.size()), "?"),
                     options.timeout);
  TrafficCounters uncounted;
  std::vector<int> everyone;
  for (int rank = 0; rank < links.size(); ++rank) {
    everyone.push_back(rank);
  }
  const std::vector<int> hosts(everyone.size(), 0);
  PeerGroup group(links, watch, uncounted, everyone, hosts);
  return group.gather(options.host.empty() ? host_name() : options.host, operation);
}

Topology topology_of(const std::vector<std::string>& hosts) {
  Topology topology;
  for (const std::string& host : hosts) {
    const auto known = std::ranges::find(topology.names, host);
    topology.host_of.push_back(static_cast<int>(known - topology.names.begin()));
    if (known == topology.names.end()) {
      topology.names.push_back(host);
    }
  }
  return topology;
}

class GroupCommunicator : public Communicator {
 public:
  GroupCommunicator(std::unique_ptr<PeerLinks> messages, GroupOptions options)
      : options_(std::move(options)),
        messages_(std::move(messages)),
        links_(messages_->split(0)),
        hosts_(gather_hosts(*links_, options_, {.kind = Kind::kSplit})),
        topology_(topology_of(hosts_)),
        watch_(*links_, hosts_, options_.timeout),
        everyone_(*links_, watch_, traffic_, members_where([](int) { return true; }),
                  topology_.host_of) {
    join_hosts();
    if (options_.algorithm != "auto" && options_.algorithm != "fastest") {
      table_ = ChoiceTable::parse(options_.algorithm, topology_);
    }
    set_traffic({});  // what making it took is not counted
  }

  ~GroupCommunicator() override {
    queue_.reset();  // what was started still needs all of this
    if (failed_) {
      scratch_.messages.abandon();
      scratch_.partials.abandon();
    }
  }

  [[nodiscard]] int rank() const override { return links_->rank(); }
  [[nodiscard]] int size() const override { return links_->size(); }
  [[nodiscard]] std::string_view backend() const override { return options_.backend; }
  [[nodiscard]] Traffic traffic() const override {
    return {traffic_.sent + passed_.sent, traffic_.received + passed_.received,
            traffic_.between_hosts + passed_.between_hosts};
  }
  [[nodiscard]] std::string algorithm(std::size_t bytes) const override {
    const std::lock_guard lock(table_mutex_);
    return table_.has_value() ? name_of(table_->at(bytes), topology_)
                              : name_of(candidates(topology_, true).front(), topology_);
  }
  [[nodiscard]] std::string algorithms() const override {
    const std::lock_guard lock(table_mutex_);
    return table_.has_value() ? table_->text(topology_) : options_.algorithm;
  }

  [[nodiscard]] SharedBuffer allocate(std::size_t bytes) override {
    SharedBuffer buffer;
    run({.kind = Kind::kAllocate, .count = bytes}, [&](const Operation& operation) {
      buffer = host_ != nullptr ? host_->allocate(bytes, operation) : own_memory(bytes);
    });
    return buffer;
  }

  using Communicator::all_reduce;
  void all_reduce(const void* source, void* destination, std::size_t count, DType dtype,
                  ReduceOp op) override {
    run({.kind = Kind::kAllReduce, .count = count, .dtype = dtype},
        [&](const Operation& operation) {
          do_all_reduce(source, destination, count, dtype, op, operation);
        });
  }
  void reduce_scatter(const void* source, void* destination, std::size_t count, DType dtype,
                      ReduceOp op) override {
    run({.kind = Kind::kReduceScatter, .count = count, .dtype = dtype},
        [&](const Operation& operation) {
          do_reduce_scatter(source, destination, count, dtype, op, operation);
        });
  }
  void all_gather(const void* source, void* destination, std::size_t count, DType dtype) override {
    run({.kind = Kind::kAllGather, .count = count, .dtype = dtype},
        [&](const Operation& operation) {
          do_all_gather(source, destination, count, dtype, operation);
        });
  }
  void broadcast(void* data, std::size_t count, DType dtype, int root) override {
    check_rank(root);
    run({.kind = Kind::kBroadcast, .count = count, .dtype = dtype, .peer = root},
        [&](const Operation& operation) { do_broadcast(data, operation); });
  }
  void barrier() override {
    run({.kind = Kind::kBarrier}, [&](const Operation& operation) { do_barrier(operation); });
  }

  [[nodiscard]] std::unique_ptr<Work> all_reduce_async(const void* source, void* destination,
                                                       std::size_t count, DType dtype,
                                                       ReduceOp op) override {
    return start({.kind = Kind::kAllReduce, .count = count, .dtype = dtype},
                 [=, this](const Operation& operation) {
                   do_all_reduce(source, destination, count, dtype, op, operation);
                 });
  }
  [[nodiscard]] std::unique_ptr<Work> reduce_scatter_async(const void* source, void* destination,
                                                           std::size_t count, DType dtype,
                                                           ReduceOp op) override {
    return start({.kind = Kind::kReduceScatter, .count = count, .dtype = dtype},
                 [=, this](const Operation& operation) {
                   do_reduce_scatter(source, destination, count, dtype, op, operation);
                 });
  }
  [[nodiscard]] std::unique_ptr<Work> all_gather_async(const void* source, void* destination,
                                                       std::size_t count, DType dtype) override {
    return start({.kind = Kind::kAllGather, .count = count, .dtype = dtype},
                 [=, this](const Operation& operation) {
                   do_all_gather(source, destination, count, dtype, operation);
                 });
  }
  [[nodiscard]] std::unique_ptr<Work> broadcast_async(void* data, std::size_t count, DType dtype,
                                                      int root) override {
    check_rank(root);
    return start({.kind = Kind::kBroadcast, .count = count, .dtype = dtype, .peer = root},
                 [=, this](const Operation& operation) { do_broadcast(data, operation); });
  }
  [[nodiscard]] std::unique_ptr<Work> barrier_async() override {
    return start({.kind = Kind::kBarrier},
                 [this](const Operation& operation) { do_barrier(operation); });
  }

  [[nodiscard]] std::unique_ptr<Work> send_async(const void* data, std::size_t bytes,
                                                 int destination, int tag) override {
    check_rank(destination);
    auto transfer = messages_->send(destination, tag, data, bytes);
    if (destination != rank()) {
      passed_.sent += bytes;
      passed_.between_hosts += on_this_host(destination) ? 0 : bytes;
    }
    return make_message_work({.kind = Kind::kSend, .count = bytes, .peer = destination, .tag = tag},
                             watch_, std::move(transfer));
  }
  [[nodiscard]] std::unique_ptr<Work> receive_async(void* data, std::size_t bytes, int source,
                                                    int tag) override {
    check_rank(source);
    auto transfer = messages_->receive(source, tag, data, bytes);
    passed_.received += source == rank() ? 0 : bytes;
    return make_message_work({.kind = Kind::kReceive, .count = bytes, .peer = source, .tag = tag},
                             watch_, std::move(transfer));
  }

  [[nodiscard]] std::optional<std::size_t> waiting_message(int source, int tag) override {
    check_rank(source);
    return messages_->waiting_message(source, tag);
  }

  [[nodiscard]] std::unique_ptr<Communicator> split(int color) override {
    std::unique_ptr<PeerLinks> part;
    run({.kind = Kind::kSplit}, [&](const Operation&) { part = links_->split(color); });
    return make_group_communicator(std::move(part), options_);
  }

 private:
  template <typename Belongs>
  [[nodiscard]] std::vector<int> members_where(Belongs belongs) const {
    std::vector<int> members;
    for (int rank = 0; rank < links_->size(); ++rank) {
      if (belongs(rank)) {
        members.push_back(rank);
      }
    }
    return members;
  }
  [[nodiscard]] int host_of(int rank) const {
    return topology_.host_of[static_cast<std::size_t>(rank)];
  }
  [[nodiscard]] bool on_this_host(int peer) const { return host_of(peer) == host_of(rank()); }

  // Shares memory with the ranks of this host, and meets one rank of each other host.
  void join_hosts() {
    const Operation operation{.kind = Kind::kSplit};
    if (topology_.hosts() == topology_.ranks()) {
      return;
    }
    const std::vector<int> local = topology_.ranks_of(host_of(rank()));
    host_links_ = links_->split(host_of(rank()));
    host_group_.emplace(*host_links_, watch_, traffic_, local, topology_.host_of);
    host_ = HostCollectives::make(*host_group_, traffic_, operation);
    const auto shared = everyone_.gather(host_ != nullptr ? "1" : "0", operation);
    topology_.shares_memory = std::ranges::find(shared, "0") == shared.end();
    if (topology_.hosts() == 1 || !topology_.shares_memory) {
      return;
    }
    const auto leaders = static_cast<int>(topology_.fewest());
    const int place = host_links_->rank();
    leader_links_ = links_->split(std::min(place, leaders));
    if (place < leaders) {
      std::vector<int> members;
      for (int host = 0; host < static_cast<int>(topology_.hosts()); ++host) {
        members.push_back(topology_.ranks_of(host)[static_cast<std::size_t>(place)]);
      }
      std::ranges::sort(members);
      leader_group_.emplace(*leader_links_, watch_, traffic_, members, topology_.host_of);
    }
  }

  [[nodiscard]] static SharedBuffer own_memory(std::size_t bytes) {
    const std::size_t whole = std::max<std::size_t>((bytes + 4095) / 4096 * 4096, 4096);
    std::shared_ptr<void> owner(std::aligned_alloc(4096, whole),
                                [](void* data) { std::free(data); });
    if (owner == nullptr) {
      throw std::bad_alloc();
    }
    std::memset(owner.get(), 0, whole);
    return {owner, {static_cast<std::byte*>(owner.get()), bytes}};
  }

  template <typename Action>
  void run(const Operation& operation, Action action) {
    queue_->run([&] { guard(operation, action); });
  }
  template <typename Action>
  [[nodiscard]] std::unique_ptr<Work> start(const Operation& operation, Action action) {
    return queue_->start([this, operation, action] { guard(operation, action); });
  }

  // A collective that fails is the communicator's last; the other ranks are told.
  template <typename Action>
  void guard(const Operation& operation, Action& action) {
    if (failed_) {
      throw TransportError("{}: this communicator failed earlier: {}", operation.text(), failure_);
    }
    try {
      action(operation);
    } catch (const std::exception& error) {
      failure_ = error.what();
      failed_ = true;
      watch_.tell_failure();
      throw;
    }
  }

  void set_traffic(Traffic traffic) {
    traffic_.sent = traffic.sent;
    traffic_.received = traffic.received;
    traffic_.between_hosts = traffic.between_hosts;
  }

  void check_rank(int peer) const {
    if (peer < 0 || peer >= size()) {
      throw TransportError("there is no rank {}: this communicator has {}", peer, size());
    }
  }

  [[nodiscard]] Arithmetic arithmetic_of(DType dtype, ReduceOp op) const {
    return {dtype, op, op == ReduceOp::kAverage ? size() : 1};
  }

  void do_all_reduce(const void* source, void* destination, std::size_t count, DType dtype,
                     ReduceOp op, const Operation& operation) {
    if (count == 0) {
      return;
    }
    const Vectors vectors{source, destination, count, arithmetic_of(dtype, op)};
    if (size() == 1) {
      direct_all_reduce(everyone_, vectors, scratch_, operation);
      return;
    }
    if (!table_.has_value()) {
      choose(operation);
    }
    run_algorithm(table_->at(count * size_of(dtype)), vectors, operation);
  }

  void run_algorithm(Algorithm algorithm, const Vectors& vectors, const Operation& operation) {
    if (!algorithm.shared) {
      all_reduce_with(algorithm.flat, everyone_, vectors, scratch_, operation);
    } else if (topology_.hosts() == 1) {
      host_->all_reduce(vectors.source, vectors.destination, vectors.count, vectors.arithmetic,
                        operation);
    } else {
      hierarchical_all_reduce({*host_, leader_group_.has_value() ? &*leader_group_ : nullptr,
                               topology_.fewest(), algorithm.flat},
                              vectors, scratch_, operation);
    }
  }

  // Fills the table, from the file or by measurement, which is not counted as traffic. Collective.
  void choose(const Operation& operation) {
    const Traffic before{traffic_.sent, traffic_.received, traffic_.between_hosts};
    ChoiceTable table =
        measured_choice(topology_, everyone_, options_.algorithm == "fastest", options_.tables,
                        operation, [&](Algorithm algorithm, const Vectors& vectors) {
                          run_algorithm(algorithm, vectors, operation);
                        });
    set_traffic(before);
    const std::lock_guard lock(table_mutex_);
    table_ = std::move(table);
  }

  void do_reduce_scatter(const void* source, void* destination, std::size_t count, DType dtype,
                         ReduceOp op, const Operation& operation) {
    const auto ranks = static_cast<std::size_t>(size());
    if (topology_.hosts() == 1 && host_ != nullptr) {
      host_->reduce_scatter(source, destination, Partition::equal(count, ranks),
                            arithmetic_of(dtype, op), operation);
    } else {
      pairwise_reduce_scatter(everyone_, {source, destination, count, arithmetic_of(dtype, op)},
                              scratch_.messages, operation);
    }
  }

  void do_all_gather(const void* source, void* destination, std::size_t count, DType dtype,
                     const Operation& operation) {
    const auto ranks = static_cast<std::size_t>(size());
    if (topology_.hosts() == 1 && host_ != nullptr) {
      host_->all_gather(source, destination, Partition::equal(count, ranks), size_of(dtype),
                        operation);
    } else {
      ring_all_gather(everyone_, source, destination, count * size_of(dtype), operation);
    }
  }

  void do_broadcast(void* data, const Operation& operation) {
    const std::size_t bytes = operation.count * size_of(operation.dtype);
    if (topology_.hosts() == 1 && host_ != nullptr) {
      host_->broadcast(data, bytes, static_cast<std::size_t>(operation.peer), operation);
    } else {
      chain_broadcast(everyone_, data, bytes, operation.peer, operation);
    }
  }

  void do_barrier(const Operation& operation) {
    if (topology_.hosts() == 1 && host_ != nullptr) {
      host_->barrier(operation);
    } else {
      message_barrier(everyone_, operation);
    }
  }

  const GroupOptions options_;
  const std::unique_ptr<PeerLinks> messages_;
  const std::unique_ptr<PeerLinks> links_;
  const std::vector<std::string> hosts_;
  Topology topology_;
  TrafficCounters traffic_;  // of collectives, which run one at a time
  TrafficCounters passed_;   // of messages
  FailureWatch watch_;
  PeerGroup everyone_;
  std::unique_ptr<PeerLinks> host_links_;
  std::optional<PeerGroup> host_group_;
  std::unique_ptr<HostCollectives> host_;
  std::unique_ptr<PeerLinks> leader_links_;
  std::optional<PeerGroup> leader_group_;
  FlatScratch scratch_;
  mutable std::mutex table_mutex_;
  std::optional<ChoiceTable> table_;  // written under the mutex, by one operation at a time
  std::atomic<bool> failed_ = false;
  std::string failure_;
  std::unique_ptr<OperationQueue> queue_ = std::make_unique<OperationQueue>();
};

}  // namespace

std::unique_ptr<Communicator> make_group_communicator(std::unique_ptr<PeerLinks> links,
                                                      GroupOptions options) {
  return std::make_unique<GroupCommunicator>(std::move(links), std::move(options));
}

}  // namespace desta::runtime
