// The status page in a real browser: what it shows, what it does not run, and how it looks.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <regex>
#include <set>
#include <thread>

#include "browser.h"
#include "runtime/telemetry/status_server.h"
#include "support/made_up_snapshot.h"

namespace desta::runtime {
namespace {

using desta::runtime::testing::Browser;
using desta::runtime::testing::Picture;
using desta::testing::made_up_snapshot;

StatusServerOptions always_new() {
  StatusServerOptions options;
  options.min_interval = std::chrono::milliseconds(0);
  return options;
}

class StatusPage : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Browser::is_there()) {
      GTEST_SKIP() << "no chromium";
    }
  }

  // The job as it is, two minutes further with each look at it.
  static SystemSnapshot moving_snapshot() {
    static std::atomic<int> looks = 0;
    SystemSnapshot snapshot = made_up_snapshot();
    const int look = ++looks;
    snapshot.time += 120 * look;
    snapshot.gauges["loss"] += std::sin(look);
    return snapshot;
  }

  const Browser browser_;
};

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<std::string> actor_names(const std::string& document) {
  static const std::regex cell(R"re(<td class="name"[^>]*>([^<]*)</td>)re");
  std::vector<std::string> names;
  for (std::sregex_iterator it(document.begin(), document.end(), cell), end; it != end; ++it) {
    names.push_back((*it)[1]);
  }
  return names;
}

TEST_F(StatusPage, ShowsWhatTheJobDoes) {
  const StatusServer server("127.0.0.1:0", made_up_snapshot);
  const std::string document = browser_.document("http://" + server.address() + "/", 3);
  for (const char* part :
       {"running for 2 h 3 min", "<title>hangs · desta</title>",
        "actor stage/3 on node 3, method run_step, for 41 s",
        "<li>stage/2 on node 2 waits for gradients of stage/3 since 40 s</li>",
        ">samples per second<", ">18.75<", ">1,285<", ">5, 2 not alive<",
        ">dead: connection reset by peer<", ">25.5 of 32<", ">160 GiB of 256 GiB<",
        ">out of memory: 9.2 GiB asked for; its 2 restarts are used up<", ">run_step for 41 s<",
        ">coordinator<", ">96,404<", "restarting<b>1</b>", "busy<b>16</b>"}) {
    EXPECT_TRUE(holds(document, part)) << part;
  }
  const auto names = actor_names(document);
  ASSERT_EQ(names.size(), 30U);
  EXPECT_EQ(names[0], "generator/6") << "the dead one";
  EXPECT_EQ(names[1], "extractor/3") << "the one that restarts";
}

TEST_F(StatusPage, NamesAreTextWhateverTheySay) {
  const StatusServer server("127.0.0.1:0", made_up_snapshot);
  const std::string document = browser_.document("http://" + server.address() + "/", 3);
  EXPECT_TRUE(holds(document, "&lt;img src=x onerror="));
  EXPECT_TRUE(holds(document, "&lt;script&gt;document.title='pwned'&lt;/script&gt;"));
  EXPECT_TRUE(holds(document, ">Probe&lt;int&gt;<"));
  EXPECT_FALSE(holds(document, "<img"));
  EXPECT_FALSE(holds(document, "<title>pwned"));
}

TEST_F(StatusPage, FiltersAndSortsByItsAddress) {
  const StatusServer server("127.0.0.1:0", made_up_snapshot);
  const std::string page = "http://" + server.address() + "/";
  // Generators 3, 7 and 11 are on node 3, with 0, 9 and 13 calls.
  const std::string some =
      browser_.document(page + "#filter=node:3+GENERATOR&sort=mailbox&order=down", 3);
  EXPECT_EQ(actor_names(some),
            (std::vector<std::string>{"generator/11", "generator/7", "generator/3"}));
  EXPECT_TRUE(holds(some, ">3 of 30<"));
  EXPECT_EQ(actor_names(browser_.document(page + "#state=dead&state=restarting&sort=name", 3)),
            (std::vector<std::string>{"extractor/3", "generator/6"}));
  const std::string none = browser_.document(page + "#filter=nobody", 3);
  EXPECT_TRUE(actor_names(none).empty());
  EXPECT_TRUE(holds(none, "<p id=\"none\">"));
}

TEST_F(StatusPage, HoldsOnePageOfTenThousandActors) {
  const StatusServer server("127.0.0.1:0", [] {
    SystemSnapshot snapshot = made_up_snapshot();
    for (int i = 0; i < 10'000; ++i) {
      ActorInfo actor = snapshot.actors[static_cast<std::size_t>(i % 9)];
      actor.name = "worker/" + std::to_string(i);
      snapshot.actors.push_back(actor);
    }
    return snapshot;
  });
  const std::string document =
      browser_.document("http://" + server.address() + "/#filter=worker&sort=name", 5);
  const auto names = actor_names(document);
  ASSERT_EQ(names.size(), 50U);
  EXPECT_EQ(names[2], "worker/2");
  EXPECT_EQ(names[49], "worker/49");
  EXPECT_TRUE(holds(document, ">1 to 50 of 10,000<"));
}

TEST_F(StatusPage, SaysWhenTheJobIsGone) {
  std::mutex mutex;
  std::condition_variable changed;
  int looks = 0;
  StatusServer server(
      "127.0.0.1:0",
      [&] {
        const std::lock_guard lock(mutex);
        ++looks;
        changed.notify_one();
        return made_up_snapshot();
      },
      always_new());
  std::thread end([&] {
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return looks >= 3; });
    }
    server.stop();
  });
  const std::string document = browser_.document("http://" + server.address() + "/", 30);
  end.join();
  EXPECT_TRUE(holds(document, "gone: the last answer came at "));
  EXPECT_TRUE(holds(document, "<title>gone · desta</title>"));
  EXPECT_TRUE(holds(document, "<body class=\"gone\">"));
  EXPECT_EQ(actor_names(document).size(), 30U) << "what was last known stays";
}

// Of the pixels in rows [from, to): how many differ clearly from their left neighbour, as those of
// text do.
double edges(const Picture& picture, std::size_t from, std::size_t to) {
  std::size_t count = 0;
  for (std::size_t y = from; y < to; ++y) {
    for (std::size_t x = 1; x < picture.width; ++x) {
      count += std::abs(picture.luminance(x, y) - picture.luminance(x - 1, y)) > 30;
    }
  }
  return static_cast<double>(count) / static_cast<double>((to - from) * picture.width);
}

double median_luminance(const Picture& picture) {
  std::vector<double> all;
  for (std::size_t y = 0; y < picture.height; ++y) {
    for (std::size_t x = 0; x < picture.width; ++x) {
      all.push_back(picture.luminance(x, y));
    }
  }
  std::ranges::nth_element(all, all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2));
  return all[all.size() / 2];
}

TEST_F(StatusPage, LooksLikeAPageInLightAndInDark) {
  const StatusServer server("127.0.0.1:0", moving_snapshot, always_new());
  for (const bool dark : {false, true}) {
    const Picture picture = browser_.picture("http://" + server.address() + "/", 20, dark);
    ASSERT_EQ(picture.width, 1280U);
    ASSERT_EQ(picture.height, 900U);
    std::set<std::array<std::uint8_t, 3>> colours;
    std::size_t red = 0;
    for (std::size_t i = 0; i < picture.pixels.size(); i += 3) {
      const std::uint8_t* p = &picture.pixels[i];
      colours.insert({p[0], p[1], p[2]});
      red += p[0] > 1.6 * p[1] && p[0] > 1.6 * p[2];
    }
    EXPECT_GT(colours.size(), 100U);
    EXPECT_GT(red, 500U) << "the hang report and the dead";
    if (dark) {
      EXPECT_LT(median_luminance(picture), 60);
    } else {
      EXPECT_GT(median_luminance(picture), 200);
    }
    for (std::size_t band = 0; band < 4; ++band) {
      const double share = edges(picture, band * 225, (band + 1) * 225);
      EXPECT_GT(share, 0.005) << "rows from " << band * 225 << ": blank";
      EXPECT_LT(share, 0.2) << "rows from " << band * 225 << ": noise";
    }
  }
}

}  // namespace
}  // namespace desta::runtime
