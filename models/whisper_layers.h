// Loading the layers that Whisper's encoder and decoder share.
#pragma once

#include "models/whisper.h"

namespace desta::models {

[[nodiscard]] inline Linear load_linear(TensorSource& source, const std::string& name,
                                        std::int64_t out, std::int64_t in) {
  return {source.get(name + ".weight", {out, in}), source.get(name + ".bias", {out})};
}

[[nodiscard]] inline Norm load_norm(TensorSource& source, const std::string& name,
                                    std::int64_t size) {
  return {source.get(name + ".weight", {size}), source.get(name + ".bias", {size})};
}

}  // namespace desta::models
