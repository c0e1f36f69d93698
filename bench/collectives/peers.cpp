#include "bench/collectives/peers.h"

#include <mpi.h>

#include <cstring>
#include <memory>

namespace desta::bench {

Contender open_mpi(const std::string& name, const std::string& memory, float* data,
                   std::size_t most_bytes, bool in_place) {
  const auto other =
      std::make_shared<std::vector<float>>(in_place ? 0 : most_bytes / sizeof(float));
  return {name, memory, data, [data, other, in_place](std::size_t bytes) -> std::function<void()> {
            const auto count = static_cast<int>(bytes / sizeof(float));
            if (!in_place) {
              std::memcpy(other->data(), data, bytes);
            }
            return [data, other, in_place, count] {
              const void* source = in_place ? MPI_IN_PLACE : static_cast<const void*>(other->data());
              MPI_Allreduce(source, data, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
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
