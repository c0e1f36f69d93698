#include "bench/collectives/peers.h"

#include <mpi.h>

#include <cstring>
#include <memory>

namespace desta::bench {

Contender open_mpi(const std::string& name, const std::string& memory, float* data) {
  return {name, memory, data, [data](std::size_t bytes) -> std::function<void()> {
            const auto count = static_cast<int>(bytes / sizeof(float));
            return [data, count] {
              MPI_Allreduce(MPI_IN_PLACE, data, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
            };
          }};
}

Contender memory_copy(const std::string& memory, float* data, std::size_t most_bytes) {
  const auto other = std::make_shared<std::vector<float>>(most_bytes / sizeof(float));
  Contender contender{"memory copy", memory, data,
                      [data, other](std::size_t bytes) -> std::function<void()> {
                        return [data, other, bytes] { std::memcpy(other->data(), data, bytes); };
                      }};
  contender.reduces = false;
  return contender;
}

}  // namespace desta::bench
