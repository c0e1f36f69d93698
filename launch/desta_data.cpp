// desta-data: looks at datasets, checks them, and turns them into other ones.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "datagen/dataset_check.h"
#include "datagen/dataset_export.h"
#include "datagen/dataset_merge.h"
#include "datagen/dataset_report.h"
#include "datagen/dataset_rows.h"
#include "datagen/dataset_statistics.h"
#include "desta_version.h"
#include "launch/number_checks.h"
#include "launch/report_errors.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace {

using namespace desta;

struct Arguments {
  std::string folder;
  std::string html;
  std::size_t examples = 8;
  std::uint64_t seed = 1;
  datagen::RowChoice choice;
  bool json = false;
  bool audio = false;
  std::string file;
  std::string layout;
  std::vector<std::string> selections;
  std::string output;
  std::vector<std::string> inputs;
  std::size_t rows_per_shard = 1000;
};

void print(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    throw runtime::InternalError("standard output: cannot write: {}", std::strerror(errno));
  }
}

int stats(const Arguments& arguments) {
  const auto statistics = datagen::dataset_statistics(arguments.folder);
  print(datagen::statistics_text(statistics));
  if (!arguments.html.empty()) {
    datagen::write_dataset_report(arguments.html, statistics, arguments.examples, arguments.seed);
  }
  return runtime::kExitOk;
}

int show(const Arguments& arguments) {
  const auto dataset = datagen::Dataset::open(arguments.folder);
  for (const std::size_t index : datagen::chosen_rows(dataset, arguments.folder, arguments.choice)) {
    const auto row = dataset.row(index);
    print((arguments.json ? datagen::row_json(row, index) : datagen::row_text(row, index)) + "\n");
  }
  return runtime::kExitOk;
}

int verify(const Arguments& arguments) {
  const auto check = datagen::check_dataset(
      arguments.folder, arguments.audio,
      [](const std::string& problem) { print(problem + "\n"); });
  print(datagen::check_text(check));
  return check.problems == 0 ? runtime::kExitOk : runtime::kExitBadInput;
}

int export_rows(const Arguments& arguments) {
  std::vector<datagen::Selection> selections;
  for (const auto& text : arguments.selections) {
    selections.push_back(datagen::parse_selection(text));
  }
  const auto report = datagen::export_jsonl(arguments.folder, arguments.file,
                                            datagen::layout_of(arguments.layout), selections);
  runtime::log().info("{} rows in {}, {} left out", report.rows, arguments.file, report.left_out);
  return runtime::kExitOk;
}

int merge(const Arguments& arguments) {
  const auto inputs =
      datagen::merge_datasets(arguments.output, {arguments.inputs.begin(), arguments.inputs.end()},
                              arguments.rows_per_shard);
  std::uint64_t rows = 0;
  for (const auto& input : inputs) {
    print(fmt::format("{}: {} rows taken, {} duplicates left out{}\n", input.folder.string(), input.taken,
                      input.duplicates,
                      input.rejected > 0 ? fmt::format("; {} that filters took out go along", input.rejected) : ""));
    rows += input.taken;
  }
  print(fmt::format("{}: {} rows\n", arguments.output, rows));
  return runtime::kExitOk;
}

using Command = int (*)(const Arguments&);

CLI::App* add_command(CLI::App& app, Command& chosen, const char* name, const char* what,
                      Command command) {
  CLI::App* sub = app.add_subcommand(name, what);
  sub->callback([&chosen, command] { chosen = command; });
  return sub;
}

void add_commands(CLI::App& app, Arguments& arguments, Command& chosen) {
  const auto command = [&](const char* name, const char* what, Command work) {
    CLI::App* sub = add_command(app, chosen, name, what, work);
    sub->add_option("folder", arguments.folder, "folder of the dataset's shards")->required();
    return sub;
  };
  CLI::App* sub = command("stats", "what is in it: attributes, prompts, generators, lengths", stats);
  auto* html = sub->add_option("--html", arguments.html, "also as one HTML page, with examples to hear");
  sub->add_option("--examples", arguments.examples, "rows in the page")
      ->capture_default_str()
      ->needs(html);
  sub->add_option("--seed", arguments.seed, "which examples")->capture_default_str()->needs(html);

  sub = command("show", "rows, the first one if none is chosen", show);
  auto* row = sub->add_option("--row", arguments.choice.row, "the row of this number, from 0");
  auto* id = sub->add_option("--id", arguments.choice.id, "the row of this id")->excludes(row);
  sub->add_option("--random", arguments.choice.random, "this many rows, drawn by --seed")
      ->excludes(row)
      ->excludes(id);
  sub->add_option("--seed", arguments.choice.seed, "of --random")->capture_default_str();
  sub->add_flag("--json", arguments.json, "one object a line");

  sub = command("verify", "is it whole? One line a problem, and exit code 2 if there is any", verify);
  sub->add_flag("--audio", arguments.audio, "look for the recordings, too");

  sub = command("export", "its rows as JSON Lines", export_rows);
  sub->add_option("file", arguments.file, "the file to write, or /dev/stdout")->required();
  sub->add_option("--layout", arguments.layout, "as published: desta2 or desta2.5")->required();
  sub->add_option("--select", arguments.selections,
                  "attribute=word: only rows that have it; repeatable, all must hold")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);

  sub = add_command(app, chosen, "merge", "the rows of several in a new one, each id once", merge);
  sub->add_option("output", arguments.output, "folder to make")->required();
  sub->add_option("inputs", arguments.inputs, "datasets; of rows with one id the first is taken")
      ->required()
      ->expected(1, -1);
  sub->add_option("--rows-per-shard", arguments.rows_per_shard, "of the new one")
      ->capture_default_str()
      ->check(launch::more_than_zero);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("desta-data: looks at datasets, checks them, and turns them into other ones.",
               "desta-data");
  app.set_version_flag("--version", DESTA_VERSION);
  app.require_subcommand(1);
  Arguments arguments;
  Command command = nullptr;
  add_commands(app, arguments, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? runtime::kExitOk : runtime::kExitBadInput;
  }
  runtime::init_logging(0);
  return launch::report_errors([&] { return command(arguments); });
}
