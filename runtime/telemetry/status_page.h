// The status page for people, as texts: one document, its style sheet and its script. Written by
// hand; nothing is loaded from elsewhere.
#pragma once

#include <string_view>

namespace desta::runtime {

[[nodiscard]] std::string_view status_page_html();
[[nodiscard]] std::string_view status_page_css();
[[nodiscard]] std::string_view status_page_js();

}  // namespace desta::runtime
