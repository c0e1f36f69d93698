#include "datagen/dataset_report.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <ostream>

#include "datagen/audio_file.h"
#include "datagen/dataset_rows.h"
#include "datagen/output_file.h"
#include "desta_version.h"
#include "runtime/core/error.h"
#include "runtime/core/markup.h"

namespace desta::datagen {
namespace {

using runtime::escape_markup;

constexpr double kSecondsHeard = 15;
constexpr std::size_t kMostWords = 40;
constexpr std::size_t kMostPrompts = 100;

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--annotated:#0072b2;--measured:#e69f00;--model:#cc79a7;--plain:#009e73}
body{font:15px/1.5 system-ui,sans-serif;max-width:1040px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;overflow-wrap:anywhere}h2{font-size:1.2rem;margin-top:2.2rem}h3{font-size:1rem;margin-bottom:.2rem}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;margin:.6rem 0;width:100%}
th,td{padding:.2rem .55rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
th.text,td.text{text-align:left;overflow-wrap:anywhere}td.bar{width:45%}
.bars{display:flex;height:1.1em}.bars i{display:block}
.annotated{background:var(--annotated)}.measured{background:var(--measured)}.model{background:var(--model)}.plain{background:var(--plain)}
.key span{display:inline-block;margin-right:1em}.key i{display:inline-block;width:1em;height:1em;vertical-align:-.15em;margin-right:.3em}
svg{max-width:100%;height:auto}
section{border:1px solid var(--line);border-radius:6px;padding:.6rem 1rem;margin:1rem 0}
dl{display:grid;grid-template-columns:9rem 1fr;gap:.2rem .8rem;margin:.4rem 0}dt{opacity:.7}dd{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
audio{width:100%}small{opacity:.75}
)";

std::string base64(const std::string& bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

double percent(std::uint64_t part, std::uint64_t all) {
  return all == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(all);
}

std::string number(std::uint64_t value) { return fmt::format("{}", fmt::group_digits(value)); }

class Page {
 public:
  Page(const DatasetStatistics& statistics, const std::vector<Row>& examples)
      : statistics_(statistics), examples_(examples) {}

  std::string make() {
    head();
    sources();
    for (const AttributeBalance& attribute : statistics_.attributes) {
      balance(attribute);
    }
    html_ += "<h2>Lengths</h2>\n";
    histogram("Recordings", "s", statistics_.durations);
    histogram("Responses", "words", statistics_.response_words);
    histogram("Responses", "characters", statistics_.response_characters);
    prompts();
    groups();
    filters();
    generators();
    if (!examples_.empty()) {
      html_ += "<h2>Examples</h2>\n";
    }
    for (const Row& row : examples_) {
      example(row);
    }
    add("<p><small>desta {}</small></p>\n</body></html>\n", DESTA_VERSION);
    return std::move(html_);
  }

 private:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    html_ += fmt::format(format, std::forward<Args>(args)...);
  }

  void head() {
    const std::string title = escape_markup(statistics_.folder.string());
    add("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>"
        "<meta name=\"viewport\" content=\"width=device-width\"><style>{}</style></head><body>\n"
        "<h1>{}</h1>\n",
        title, kStyle, title);
    add("<p>{} rows in {} shards ({:.1f} MB); {} recordings, {:.2f} hours; {} empty responses.</p>\n",
        number(statistics_.rows), number(statistics_.shards),
        1e-6 * static_cast<double>(statistics_.bytes), number(statistics_.recordings),
        statistics_.seconds / 3600, number(statistics_.empty_responses));
  }

  // A bar of what is annotated, what is measured and what a model says.
  template <typename Counts>
  [[nodiscard]] std::string bars(const Counts& counts, std::uint64_t whole) const {
    return fmt::format("<div class=\"bars\"><i class=\"annotated\" style=\"width:{:.2f}%\"></i>"
                       "<i class=\"measured\" style=\"width:{:.2f}%\"></i>"
                       "<i class=\"model\" style=\"width:{:.2f}%\"></i></div>",
                       percent(counts.annotated, whole), percent(counts.measured, whole),
                       percent(counts.model, whole));
  }

  void sources() {
    html_ +=
        "<h2>Attributes: who says so</h2>\n<p class=\"key\"><span><i class=\"annotated\"></i>annotated"
        "</span><span><i class=\"measured\"></i>measured</span><span><i class=\"model\"></i>by a model"
        "</span>bars are shares of all rows</p>\n"
        "<table><tr><th class=\"text\">attribute</th><th>annotated</th><th>measured</th>"
        "<th>model</th><th>absent</th><th></th></tr>\n";
    for (const AttributeBalance& attribute : statistics_.attributes) {
      add("<tr><td class=\"text\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>"
          "<td class=\"bar\">{}</td></tr>\n",
          escape_markup(attribute.name), number(attribute.annotated), number(attribute.measured),
          number(attribute.model), number(attribute.absent), bars(attribute, statistics_.rows));
    }
    html_ += "</table>\n";
  }

  void balance(const AttributeBalance& attribute) {
    add("<h3>{}</h3>\n<table><tr><th class=\"text\">word</th><th>rows</th><th>annotated</th>"
        "<th>measured</th><th>model</th><th>share</th><th></th></tr>\n",
        escape_markup(attribute.name));
    std::uint64_t others = 0;
    for (std::size_t i = 0; i < attribute.words.size(); ++i) {
      const WordCount& word = attribute.words[i];
      if (i >= kMostWords) {
        others += word.rows();
        continue;
      }
      add("<tr><td class=\"text\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1f} %</td>"
          "<td class=\"bar\">{}</td></tr>\n",
          word.word.empty() ? "(no word)" : escape_markup(word.word), number(word.rows()),
          number(word.annotated), number(word.measured), number(word.model),
          percent(word.rows(), statistics_.rows), bars(word, statistics_.rows));
    }
    html_ += "</table>\n";
    if (others > 0) {
      add("<p>and {} other words in {} rows</p>\n", number(attribute.words.size() - kMostWords),
          number(others));
    }
    histogram("", attribute.unit, attribute.numbers);
  }

  void histogram(const std::string& name, const std::string& unit, const Distribution& numbers) {
    if (numbers.count == 0) {
      return;
    }
    constexpr double kWidth = 720;
    constexpr double kHeight = 120;
    constexpr double kFoot = 18;
    if (!name.empty()) {
      add("<h3>{} [{}]</h3>\n", name, unit);
    }
    add("<p>{:.4g} to {:.4g} {}, median {:.4g}, mean {:.4g}, of {}</p>\n", numbers.minimum,
        numbers.maximum, escape_markup(unit), numbers.median, numbers.mean, number(numbers.count));
    add("<svg viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" font-size=\"11\" "
        "fill=\"currentColor\">\n",
        kWidth, kHeight + kFoot);
    const auto most = static_cast<double>(*std::max_element(numbers.bins.begin(), numbers.bins.end()));
    const double step = kWidth / static_cast<double>(numbers.bins.size());
    for (std::size_t i = 0; i < numbers.bins.size(); ++i) {
      const double height = kHeight * static_cast<double>(numbers.bins[i]) / most;
      const double left = numbers.first + static_cast<double>(i) * numbers.width;
      const double x = static_cast<double>(i) * step;
      const bool last = i + 1 == numbers.bins.size();
      add("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"var(--plain)\">"
          "<title>{:.5g} to {:.5g}: {}</title></rect>\n",
          x + 1, kHeight - height, step - 2, height, left,
          last ? std::max(numbers.maximum, left + numbers.width) : left + numbers.width,
          number(numbers.bins[i]));
      if (i % 5 == 0) {
        add("<text x=\"{:.1f}\" y=\"{:.1f}\">{:.5g}</text>\n", x, kHeight + kFoot - 4, left);
      }
    }
    html_ += "</svg>\n";
  }

  void prompts() {
    html_ +=
        "<h2>Prompts</h2>\n<table><tr><th class=\"text\">prompt</th><th>rows</th><th>share</th>"
        "<th></th></tr>\n";
    for (std::size_t i = 0; i < std::min(kMostPrompts, statistics_.prompts.size()); ++i) {
      const PromptCount& prompt = statistics_.prompts[i];
      const double share = percent(prompt.rows, statistics_.rows);
      add("<tr><td class=\"text\">{}</td><td>{}</td><td>{:.1f} %</td><td class=\"bar\">"
          "<div class=\"bars\"><i class=\"plain\" style=\"width:{:.2f}%\"></i></div></td></tr>\n",
          escape_markup(prompt.prompt), number(prompt.rows), share, share);
    }
    html_ += "</table>\n";
    if (statistics_.prompts.size() > kMostPrompts) {
      add("<p>and {} others</p>\n", number(statistics_.prompts.size() - kMostPrompts));
    }
  }

  // A table of names with their rows, as shares of `all`.
  void shares(const char* name, const std::vector<std::pair<std::string, std::uint64_t>>& counts,
              std::uint64_t all) {
    add("<table><tr><th class=\"text\">{}</th><th>rows</th><th>share</th><th></th></tr>\n", name);
    for (const auto& [text, rows] : counts) {
      const double share = percent(rows, all);
      add("<tr><td class=\"text\">{}</td><td>{}</td><td>{:.1f} %</td><td class=\"bar\">"
          "<div class=\"bars\"><i class=\"plain\" style=\"width:{:.2f}%\"></i></div></td></tr>\n",
          escape_markup(text), number(rows), share, share);
    }
    html_ += "</table>\n";
  }

  void groups() {
    if (statistics_.groups.empty()) {
      return;
    }
    html_ += "<h2>Groups of prompts</h2>\n";
    std::vector<std::pair<std::string, std::uint64_t>> counts;
    for (const GroupCount& group : statistics_.groups) {
      counts.emplace_back(group.group.empty() ? "(none)" : group.group, group.rows);
    }
    shares("group", counts, statistics_.rows);
  }

  void filters() {
    if (statistics_.filters.empty()) {
      return;
    }
    std::uint64_t taken = 0;
    std::vector<std::pair<std::string, std::uint64_t>> counts;
    for (const FilterCount& filter : statistics_.filters) {
      counts.emplace_back(filter.filter, filter.rows);
      taken += filter.rows;
    }
    add("<h2>Taken out by filters</h2>\n<p>{} of {} responses</p>\n", number(taken),
        number(statistics_.rows + taken));
    shares("filter", counts, statistics_.rows + taken);
    for (const FilterCount& filter : statistics_.filters) {
      add("<h3>{}</h3>\n", escape_markup(filter.filter));
      for (const RejectedRow& sample : filter.samples) {
        html_ += "<section><dl>\n";
        for (const auto& [name, text] :
             {std::pair("reason", &sample.rejection.reason), std::pair("response", &sample.row.response),
              std::pair("prompt", &sample.row.prompt),
              std::pair("seed transcript", &sample.row.seed_transcript), std::pair("id", &sample.row.id)}) {
          add("<dt>{}</dt><dd>{}</dd>\n", name, escape_markup(*text));
        }
        html_ += "</dl></section>\n";
      }
    }
  }

  void generators() {
    html_ +=
        "<h2>Generators and decoding</h2>\n<table><tr><th class=\"text\">generator</th>"
        "<th class=\"text\">decoding</th><th>seeds</th><th>rows</th><th>share</th></tr>\n";
    for (const GeneratorCount& generator : statistics_.generators) {
      add("<tr><td class=\"text\">{}</td><td class=\"text\">{}</td><td>{}</td><td>{}</td>"
          "<td>{:.1f} %</td></tr>\n",
          escape_markup(generator.generator),
          generator.decoding.empty() ? "not kept" : escape_markup(generator.decoding),
          number(generator.seeds), number(generator.rows),
          percent(generator.rows, statistics_.rows));
    }
    html_ += "</table>\n";
  }

  // A player, or why there is none.
  [[nodiscard]] static std::string player(const std::string& path) {
    try {
      return fmt::format("<audio controls preload=\"metadata\" src=\"data:audio/flac;base64,{}\"></audio>",
                         base64(encode_flac(read_audio(path, kSecondsHeard))));
    } catch (const runtime::Error& error) {
      return fmt::format("<p><small>{}</small></p>", escape_markup(error.what()));
    }
  }

  void example(const Row& row) {
    add("<section>\n{}\n<dl>\n", player(row.audio_filepath));
    const auto entry = [&](const char* name, const std::string& text) {
      add("<dt>{}</dt><dd>{}</dd>\n", name, escape_markup(text));
    };
    entry("prompt", row.prompt);
    entry("response", row.response);
    entry("transcription", row.transcription);
    entry("seed transcript", row.seed_transcript);
    html_ += "<dt>attributes</dt><dd class=\"key\">";
    for (const Attribute& attribute : metadata_of(row)) {
      add("<span><i class=\"{}\" title=\"{}\"></i>{}: {}</span>", name_of(attribute.source),
          name_of(attribute.source), escape_markup(attribute.name), escape_markup(attribute.text));
    }
    html_ += "</dd>\n";
    entry("recording", fmt::format("{} ({:.2f} s)", row.audio_filepath, row.duration));
    entry("generator", row.generator + (row.decoding.empty() ? "" : "; " + row.decoding));
    entry("id", row.id);
    html_ += "</dl>\n</section>\n";
  }

  const DatasetStatistics& statistics_;
  const std::vector<Row>& examples_;
  std::string html_;
};

}  // namespace

std::string dataset_report_html(const DatasetStatistics& statistics,
                                const std::vector<Row>& examples) {
  return Page(statistics, examples).make();
}

void write_dataset_report(const std::filesystem::path& page, const DatasetStatistics& statistics,
                          std::size_t examples, std::uint64_t seed) {
  const Dataset dataset = Dataset::open(statistics.folder);
  std::vector<Row> rows;
  for (const std::size_t index : random_rows(dataset.size(), examples, seed)) {
    rows.push_back(dataset.row(index));
  }
  const std::string html = dataset_report_html(statistics, rows);
  write_output(page, [&](std::ostream& out) { out << html; });
}

}  // namespace desta::datagen
