// Tells when a parameter's gradient is there: after the backward pass has added the last of it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "trainer/flat_parameters.h"

namespace desta::trainer {

class GradientHooks {
 public:
  // `arrived(index)`: called by each backward pass for the parameters that it reaches, with the place
  // of the parameter in parameters.pieces(), on the thread that runs the pass.
  GradientHooks(const FlatParameters& parameters, std::function<void(std::size_t)> arrived);
  ~GradientHooks();
  GradientHooks(const GradientHooks&) = delete;
  GradientHooks& operator=(const GradientHooks&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace desta::trainer
