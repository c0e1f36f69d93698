// Text in HTML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace desta::runtime {

// `text` as it stands in markup, between tags and in attributes.
[[nodiscard]] std::string escape_markup(std::string_view text);

}  // namespace desta::runtime
