#include "runtime/telemetry/status_content.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/beast/core/string.hpp>
#include <utility>

#include "runtime/core/host_name.h"
#include "runtime/telemetry/status_json.h"
#include "runtime/telemetry/status_page.h"
#include "runtime/telemetry/status_prometheus.h"

namespace desta::runtime {
namespace {

using Clock = std::chrono::steady_clock;

StatusContent fixed(std::string_view type, std::string_view text) {
  return {type, std::make_shared<const std::string>(text)};
}

bool same_name(std::string_view a, std::string_view b) {
  return !a.empty() && boost::beast::iequals({a.data(), a.size()}, {b.data(), b.size()});
}

bool is_port(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

StatusContents::StatusContents(std::function<SystemSnapshot()> snapshot,
                               std::chrono::milliseconds min_interval)
    : take_(std::move(snapshot)), min_interval_(min_interval) {}

StatusContents::Text StatusContents::current(Text& text, Writer write) {
  if (!snapshot_ || Clock::now() - taken_ >= min_interval_) {
    snapshot_ = std::make_shared<const SystemSnapshot>(take_());
    taken_ = Clock::now();
    json_.reset();
    metrics_.reset();
  }
  if (!text) {
    text = std::make_shared<const std::string>(write(*snapshot_));
  }
  return text;
}

StatusContent StatusContents::find(std::string_view target) {
  const std::string_view path = target.substr(0, target.find('?'));
  if (path == "/") {
    return fixed("text/html; charset=utf-8", status_page_html());
  }
  if (path == "/page.css") {
    return fixed("text/css; charset=utf-8", status_page_css());
  }
  if (path == "/page.js") {
    return fixed("text/javascript; charset=utf-8", status_page_js());
  }
  if (path == "/state") {
    return {"application/json", current(json_, to_json)};
  }
  if (path == "/metrics") {
    return {kPrometheusContentType, current(metrics_, to_prometheus)};
  }
  return {};
}

bool is_our_host(std::string_view header, const std::vector<std::string>& hosts) {
  std::string_view name = header;
  if (name.starts_with('[')) {
    const std::size_t end = name.find(']');
    if (end == std::string_view::npos) {
      return false;
    }
    const std::string_view rest = name.substr(end + 1);
    if (!rest.empty() && (rest.front() != ':' || !is_port(rest.substr(1)))) {
      return false;
    }
    boost::system::error_code error;
    boost::asio::ip::make_address_v6(std::string(name.substr(1, end - 1)), error);
    return !error;
  }
  if (const std::size_t colon = name.find(':'); colon != std::string_view::npos) {
    if (!is_port(name.substr(colon + 1))) {
      return false;
    }
    name = name.substr(0, colon);
  }
  boost::system::error_code error;
  boost::asio::ip::make_address_v4(std::string(name), error);
  return !error || same_name(name, "localhost") || same_name(name, host_name()) ||
         std::ranges::any_of(hosts, [&](const std::string& host) { return same_name(name, host); });
}

}  // namespace desta::runtime
