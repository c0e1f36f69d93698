// Reads Prometheus' text format 0.0.4 by its grammar, strictly: what a scraper would refuse is an
// error here.
#pragma once

#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

namespace desta::runtime::testing {

struct PrometheusText {
  std::map<std::string, std::string> types;                          // of each family
  std::map<std::string, std::map<std::string, std::string>> labels;  // of each series
  std::map<std::string, double> values;       // by series as written: name{label="content"}
  std::map<std::string, std::size_t> series;  // how many, of each family
};

inline std::string unescape_label(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      plain += text[i];
    } else if (const char next = text.at(++i); next == 'n') {
      plain += '\n';
    } else if (next == '\\' || next == '"') {
      plain += next;
    } else {
      throw std::runtime_error("unknown escape in: " + text);
    }
  }
  return plain;
}

inline PrometheusText parse_prometheus(const std::string& text) {
  static const std::regex help(R"(# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+))");
  static const std::regex type(R"(# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge))");
  static const std::regex sample(
      R"re(([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? ([+-]?(Inf|[0-9.]+(e[+-]?[0-9]+)?)|NaN))re");
  static const std::regex label(R"re(([a-zA-Z_][a-zA-Z0-9_]*)="((\\.|[^"\\])*)"(,|$))re");
  PrometheusText parsed;
  std::set<std::string> helped;
  std::string family;
  const auto fail = [](const std::string& why, const std::string& line) {
    throw std::runtime_error(why + ": " + line);
  };
  if (text.empty() || text.back() != '\n') {
    throw std::runtime_error("the last line does not end");
  }
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    std::smatch match;
    if (std::regex_match(line, match, help)) {
      family = match[1];
      if (!helped.insert(family).second) {
        fail("a second HELP", line);
      }
    } else if (std::regex_match(line, match, type)) {
      if (match[1] != family || !parsed.types.emplace(family, match[2]).second) {
        fail("TYPE without its HELP, or twice", line);
      }
    } else if (std::regex_match(line, match, sample)) {
      if (match[1] != family || !parsed.types.contains(family)) {
        fail("a sample outside of its family", line);
      }
      const std::string name = match[1].str() + match[2].str();
      if (!parsed.values.emplace(name, std::stod(match[4])).second) {
        fail("a series twice", line);
      }
      ++parsed.series[family];
      for (std::string rest = match[3]; !rest.empty();) {
        std::smatch one;
        if (!std::regex_search(rest, one, label, std::regex_constants::match_continuous) ||
            !parsed.labels[name].emplace(one[1], unescape_label(one[2])).second) {
          fail("no label, or one twice", line);
        }
        rest = std::string(one.suffix());
      }
    } else {
      fail("neither HELP, TYPE nor a sample", line);
    }
  }
  return parsed;
}

}  // namespace desta::runtime::testing
