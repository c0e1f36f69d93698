// The status server over real sockets: what it answers, and what it does with clients that are
// wrong, slow, or many.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "prometheus_text.h"
#include "raw_client.h"
#include "runtime/core/error.h"
#include "runtime/telemetry/status_content.h"
#include "runtime/telemetry/status_page.h"
#include "runtime/telemetry/status_server.h"
#include "support/made_up_snapshot.h"

namespace desta::runtime {
namespace {

using desta::runtime::testing::HttpAnswer;
using desta::runtime::testing::RawClient;
using desta::testing::made_up_snapshot;
using std::chrono::milliseconds;

StatusServerOptions options(int interval, int timeout = 10'000, std::size_t connections = 32) {
  StatusServerOptions options;
  options.min_interval = milliseconds(interval);
  options.client_timeout = milliseconds(timeout);
  options.max_connections = connections;
  return options;
}

std::string get(const std::string& target, const std::string& more = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + more + "\r\n";
}

HttpAnswer ask(const StatusServer& server, const std::string& request, bool head = false) {
  RawClient client(server.address());
  client.send(request);
  return client.receive(head).value_or(HttpAnswer{});
}

class StatusServing : public ::testing::Test {
 protected:
  StatusServer server_{"127.0.0.1:0", made_up_snapshot, options(0)};
};

TEST_F(StatusServing, GivesThePageAndWhatItNeeds) {
  const HttpAnswer page = ask(server_, get("/"));
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(page.body, status_page_html());
  EXPECT_EQ(ask(server_, get("/page.css")).headers.at("content-type"), "text/css; charset=utf-8");
  EXPECT_EQ(ask(server_, get("/page.js")).body, status_page_js());
}

TEST_F(StatusServing, ThePageLoadsNothingFromElsewhere) {
  for (const std::string_view text : {status_page_html(), status_page_css(), status_page_js()}) {
    std::string rest(text);
    const std::string svg = "\"http://www.w3.org/2000/svg\"";  // a name, not an address
    if (const auto at = rest.find(svg); at != std::string::npos) {
      rest.erase(at, svg.size());
    }
    for (const char* word : {"http:", "https:", "//cdn", "innerHTML", "eval(", "@import"}) {
      EXPECT_EQ(rest.find(word), std::string::npos) << word;
    }
  }
}

TEST_F(StatusServing, GivesTheStateAndTheMetrics) {
  const HttpAnswer state = ask(server_, get("/state?now"));
  EXPECT_EQ(state.headers.at("content-type"), "application/json");
  EXPECT_EQ(nlohmann::json::parse(state.body).at("actors").size(), 30U);
  const HttpAnswer metrics = ask(server_, get("/metrics"));
  EXPECT_EQ(metrics.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NO_THROW((void)desta::runtime::testing::parse_prometheus(metrics.body));
}

TEST_F(StatusServing, EveryAnswerForbidsScriptsFromElsewhere) {
  for (const std::string& request :
       {get("/"), get("/state"), get("/none"), std::string("rubbish\r\n\r\n")}) {
    const HttpAnswer answer = ask(server_, request);
    const std::string policy = answer.headers.at("content-security-policy");
    EXPECT_TRUE(policy.starts_with("default-src 'none'; script-src 'self';")) << policy;
    EXPECT_EQ(policy.find("unsafe"), std::string::npos);
    EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff");
    EXPECT_EQ(answer.headers.at("cache-control"), "no-store");
    EXPECT_FALSE(answer.headers.contains("access-control-allow-origin"));
  }
}

TEST_F(StatusServing, OtherPathsAndMethodsAreRefused) {
  for (const char* path : {"/favicon.ico", "/state/", "//", "/../etc/passwd", "*"}) {
    EXPECT_EQ(ask(server_, get(path)).status, 404) << path;
  }
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"}) {
    const HttpAnswer answer =
        ask(server_, std::string(method) + " /state HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(answer.status, 405) << method;
    EXPECT_EQ(answer.headers.at("allow"), "GET, HEAD") << method;
  }
}

TEST_F(StatusServing, HeadIsGetWithoutTheBody) {
  RawClient client(server_.address());
  client.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n" + get("/none"));
  const auto head = client.receive(true);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->headers.at("content-length"), std::to_string(status_page_html().size()));
  const auto next = client.receive();
  ASSERT_TRUE(next) << "nothing of a body stands between the answers";
  EXPECT_EQ(next->status, 404);
}

TEST_F(StatusServing, KeepsTheConnectionUnlessAskedOtherwise) {
  RawClient client(server_.address());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(client.send(get("/metrics")));
    ASSERT_TRUE(client.receive());
  }
  client.send(get("/metrics", "Connection: close\r\n"));
  EXPECT_EQ(client.receive()->headers.at("connection"), "close");
  EXPECT_TRUE(client.is_closed());
  RawClient old(server_.address());
  old.send("GET /metrics HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.receive()->status, 200);
  EXPECT_TRUE(old.is_closed());
}

TEST_F(StatusServing, RequestsInPiecesAndInARowAreAnswered) {
  RawClient client(server_.address());
  const std::string request = get("/metrics") + get("/none");
  for (const char c : request) {
    ASSERT_TRUE(client.send({&c, 1}));
  }
  EXPECT_EQ(client.receive()->status, 200);
  EXPECT_EQ(client.receive()->status, 404);
}

TEST_F(StatusServing, WhatIsNotHttpIsABadRequest) {
  const std::string bytes("\x16\x03\x01\x02\x00\x01\x00\x00", 8);  // a TLS client
  for (const std::string& request :
       {std::string("rubbish\r\n\r\n"), bytes + "\r\n\r\n", std::string("GET / HTTP/9.9\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nHost localhost\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n")}) {
    RawClient client(server_.address());
    client.send(request);
    const auto answer = client.receive();
    ASSERT_TRUE(answer) << request;
    EXPECT_EQ(answer->status, 400) << request;
    EXPECT_TRUE(client.is_closed()) << request;
  }
}

TEST_F(StatusServing, LargeRequestsAreCutOff) {
  EXPECT_EQ(ask(server_, get("/", "X-Long: " + std::string(20'000, 'x') + "\r\n")).status, 431);
  EXPECT_EQ(ask(server_, get("/" + std::string(20'000, 'x'))).status, 431);
  const std::string body = "Content-Length: 1000000\r\n";
  EXPECT_EQ(ask(server_, get("/", body) + std::string(100'000, 'x')).status, 413);
  EXPECT_EQ(ask(server_, get("/", "Content-Length: 4\r\n") + "four").status, 200);
}

TEST_F(StatusServing, AClientThatIsCutOffMayFinishItsSentence) {
  RawClient client(server_.address());
  client.send(get("/", "Content-Length: 1000000\r\n"));
  ASSERT_EQ(client.receive()->status, 413);
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(client.send(std::string(20'000, 'x'))) << "a reset would have lost the answer";
    std::this_thread::sleep_for(milliseconds(20));
  }
}

TEST_F(StatusServing, NamesThatAreNotOursAreMisdirected) {
  for (const char* host : {"evil.example", "evil.example:80", "127.0.0.1.evil.example",
                           "localhost.evil.example", "[::1", "[::1]x", "localhost:80:80", "a b"}) {
    EXPECT_FALSE(is_our_host(host, {})) << host;
    const std::string request = std::string("GET /state HTTP/1.1\r\nHost: ") + host + "\r\n\r\n";
    EXPECT_EQ(ask(server_, request).status, 421) << host;
  }
  char name[256] = {};
  ASSERT_EQ(::gethostname(name, sizeof(name) - 1), 0);
  for (const std::string& host :
       {std::string("localhost"), std::string("LocalHost:8265"), std::string("127.0.0.1:8265"),
        std::string("10.1.2.3"), std::string("[::1]:8265"), std::string("[fe80::1]"),
        std::string(name) + ":8265"}) {
    EXPECT_TRUE(is_our_host(host, {})) << host;
  }
  EXPECT_TRUE(is_our_host("Status.example:443", {"other", "status.example"}));
}

TEST(StatusServer, SlowClientsAreClosedAndOthersAreServedMeanwhile) {
  StatusServer server("127.0.0.1:0", made_up_snapshot, options(0, 400));
  RawClient silent(server.address());
  RawClient dripping(server.address());
  std::atomic<bool> cut = false;
  std::thread drip([&] {  // never more than 100 ms without a byte
    dripping.send("GET / HTTP/1.1\r\nX: ");
    for (int i = 0; i < 200 && !cut; ++i) {
      std::this_thread::sleep_for(milliseconds(100));
      cut = !dripping.send("x");
    }
  });
  EXPECT_EQ(ask(server, get("/")).status, 200);
  EXPECT_TRUE(silent.is_closed());
  drip.join();
  EXPECT_TRUE(cut);
}

TEST(StatusServer, AClientThatTakesNoAnswerIsClosed) {
  // Far more than sockets hold on the way.
  const auto large = [] {
    SystemSnapshot snapshot = made_up_snapshot();
    snapshot.actors[0].name = std::string(64 << 20, 'n');
    return snapshot;
  };
  StatusServer server("127.0.0.1:0", large, options(60'000, 500, 1));
  RawClient deaf(server.address());
  deaf.send(get("/state"));
  // The only place is free again when the deaf one has been given up.
  EXPECT_EQ(ask(server, get("/")).status, 200);
}

TEST(StatusServer, FurtherClientsWaitForAPlace) {
  StatusServer server("127.0.0.1:0", made_up_snapshot, options(0, 60'000, 2));
  auto first = std::make_unique<RawClient>(server.address());
  RawClient second(server.address());
  for (RawClient* client : {first.get(), &second}) {
    client->send(get("/metrics"));
    ASSERT_TRUE(client->receive());
  }
  RawClient third(server.address());
  third.send(get("/metrics"));
  EXPECT_FALSE(third.receive(false, 300)) << "two places";
  first.reset();
  ASSERT_TRUE(third.receive());
  second.send(get("/metrics"));
  EXPECT_TRUE(second.receive());
}

TEST(StatusServer, ManyClientsAtOnceShareSnapshots) {
  std::atomic<int> taken = 0;
  StatusServer server(
      "127.0.0.1:0",
      [&] {
        ++taken;
        return made_up_snapshot();
      },
      options(3'600'000));
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round) {
        const HttpAnswer answer = ask(server, get(i % 2 == 0 ? "/state" : "/metrics"));
        good += answer.status == 200 && answer.body.find("Generator") != std::string::npos;
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(good, 160);
  EXPECT_EQ(taken, 1);
}

TEST(StatusServer, TakesANewSnapshotAfterTheInterval) {
  std::atomic<int> taken = 0;
  StatusServer server(
      "127.0.0.1:0",
      [&] {
        SystemSnapshot snapshot;
        snapshot.time = ++taken;
        return snapshot;
      },
      options(0));
  EXPECT_EQ(nlohmann::json::parse(ask(server, get("/state")).body).at("time"), 1.0);
  EXPECT_EQ(nlohmann::json::parse(ask(server, get("/state")).body).at("time"), 2.0);
  EXPECT_EQ(ask(server, get("/")).status, 200);
  EXPECT_EQ(taken, 2) << "the page itself needs none";
}

TEST(StatusServer, ASnapshotThatFailsIsTold) {
  std::atomic<bool> broken = true;
  StatusServer server(
      "127.0.0.1:0",
      [&] {
        if (broken) {
          throw TransportError("node 3 does not answer");
        }
        return made_up_snapshot();
      },
      options(3'600'000));
  const HttpAnswer answer = ask(server, get("/state"));
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(answer.body, "node 3 does not answer\n");
  broken = false;
  EXPECT_EQ(ask(server, get("/state")).status, 200);
}

TEST(StatusServer, ATakenPortIsNamed) {
  StatusServer server("127.0.0.1:0", made_up_snapshot);
  EXPECT_TRUE(server.address().starts_with("127.0.0.1:"));
  EXPECT_FALSE(server.address().ends_with(":0"));
  try {
    StatusServer second(server.address(), made_up_snapshot);
    FAIL();
  } catch (const TransportError& error) {
    EXPECT_EQ(std::string(error.what()),
              "status page: cannot listen on " + server.address() +
                  ": Address already in use; choose another address, or port 0 for any free one");
  }
  const std::string address = server.address();
  server.stop();
  EXPECT_NO_THROW(StatusServer(address, made_up_snapshot));
}

TEST(StatusServer, AddressesThatCannotBeReadAreSettings) {
  for (const char* address : {"", "8265", "127.0.0.1", "127.0.0.1:", ":8265", "127.0.0.1:65536",
                              "127.0.0.1:x", "127.0.0.1:-1", "no.such.host.invalid:0"}) {
    EXPECT_THROW(StatusServer(address, made_up_snapshot), ConfigError) << address;
  }
}

TEST(StatusServer, StopsWithClientsConnected) {
  // Nobody is closed for being slow: without stop() closing them, this test would not end.
  auto server =
      std::make_unique<StatusServer>("127.0.0.1:0", made_up_snapshot, options(0, 3'600'000));
  RawClient idle(server->address());
  RawClient kept(server->address());
  kept.send(get("/state"));
  ASSERT_TRUE(kept.receive());
  const std::string address = server->address();
  server->stop();
  server->stop();
  EXPECT_TRUE(kept.is_closed());
  EXPECT_THROW(RawClient{address}, std::runtime_error);
  server.reset();
}

}  // namespace
}  // namespace desta::runtime
