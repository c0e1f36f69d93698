#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <mpi.h>

#include "bench/collectives/peers.h"

namespace desta::bench {

std::vector<Contender> gloo(const std::string& memory, float* data, const std::string& folder) {
  int rank = 0;
  int ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  auto context = std::make_shared<::gloo::rendezvous::Context>(rank, ranks);
  ::gloo::rendezvous::FileStore store(folder);
  auto device = ::gloo::transport::tcp::CreateDevice("127.0.0.1");
  context->connectFullMesh(store, device);

  std::vector<Contender> contenders;
  contenders.push_back({"gloo ring", memory, data, [=](std::size_t bytes) -> std::function<void()> {
                          return [=] {
                            ::gloo::AllreduceOptions options(context);
                            options.setAlgorithm(::gloo::AllreduceOptions::Algorithm::RING);
                            options.setOutput(data, bytes / sizeof(float));
                            options.setReduceFunction(
                                [](void* to, const void* one, const void* two, size_t count) {
                                  ::gloo::sum<float>(to, one, two, count);
                                });
                            ::gloo::allreduce(options);
                          };
                        }});
  contenders.push_back(
      {"gloo halving-doubling", memory, data, [=](std::size_t bytes) -> std::function<void()> {
         auto algorithm = std::make_shared<::gloo::AllreduceHalvingDoubling<float>>(
             context, std::vector<float*>{data}, static_cast<int>(bytes / sizeof(float)));
         return [algorithm] { algorithm->run(); };
       }});
  return contenders;
}

}  // namespace desta::bench
