// The communicator of host memory: shared memory within hosts, messages between them, any links
// (peer_links.h) underneath. mpi_communicator.h makes it over MPI.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "runtime/collectives/communicator.h"
#include "runtime/collectives/peer_links.h"

namespace desta::runtime {

struct GroupOptions {
  std::string backend = "mpi";  // the name of the links
  // How long one operation may wait for a peer.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
  // "auto", "fastest", or a table: CommunicatorOptions in make_communicator.h says what they are.
  std::string algorithm = "auto";
  // Measured tables are kept there; empty: in no file.
  std::filesystem::path tables = {};
  // The name of this rank's host; empty: the machine's. Ranks with the same name share memory.
  std::string host = {};
};

// Over all ranks of `links`. Collective. Throws TransportError.
[[nodiscard]] std::unique_ptr<Communicator> make_group_communicator(
    std::unique_ptr<PeerLinks> links, GroupOptions options);

}  // namespace desta::runtime
