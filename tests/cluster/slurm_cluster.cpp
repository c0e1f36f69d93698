#include "cluster/slurm_cluster.h"

#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <stdexcept>

namespace desta::tests {
namespace fs = std::filesystem;

namespace {

constexpr const char* kNodes[] = {"n1", "n2"};
const std::set<std::string> kEndStates = {"COMPLETED", "FAILED",    "CANCELLED", "TIMEOUT",
                                          "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY"};

bool is_process(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  return std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Ports that nobody listens on, all different.
std::array<int, 3> free_ports() {
  std::array<int, 3> ports{};
  std::array<int, 3> listeners{};
  bool known = true;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    listeners[i] = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    known = known && ::bind(listeners[i], any, size) == 0 && ::getsockname(listeners[i], any, &size) == 0;
    ports[i] = ntohs(address.sin_port);
  }
  std::ranges::for_each(listeners, ::close);
  if (!known) {
    throw std::runtime_error("no free ports on the loopback interface");
  }
  return ports;
}

// All that this process has started, and what they have started.
std::vector<pid_t> descendants() {
  std::vector<pid_t> found = children_of(::getpid());
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (const pid_t child : children_of(found[i])) {
      found.push_back(child);
    }
  }
  return found;
}

// The state of a job, or of each task of an array. Empty when Slurm does not answer.
std::vector<std::string> states_of(const std::string& job) {
  std::vector<std::string> states;
  std::istringstream words(run_command("scontrol --oneliner show job " + job).output);
  for (std::string word; words >> word;) {
    if (word.starts_with("JobState=")) {
      states.push_back(word.substr(word.find('=') + 1));
    }
  }
  return states;
}

}  // namespace

std::string SlurmCluster::obstacle() {
  if (::geteuid() != 0) {
    return "needs root, for slurmd starts jobs as their users";
  }
  for (const char* program : {"munged", "slurmctld", "slurmd", "sbatch", "srun"}) {
    if (run_command(fmt::format("sh -c 'command -v {}'", program)).code != 0) {
      return fmt::format("there is no {} here (Debian: slurm-wlm, munge)", program);
    }
  }
  for (const auto& entry : fs::directory_iterator("/proc")) {
    if (is_process(entry)) {
      const std::string name = read_text(entry.path() / "comm");
      if (name == "slurmd\n" || name == "slurmctld\n") {
        return "another Slurm runs on this machine";
      }
    }
  }
  return "";
}

SlurmCluster::SlurmCluster(fs::path folder) : folder_(std::move(folder)) {
  // Slurm's step daemons leave their parents: they become ours, so that they can be found and
  // ended.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  write_configuration();
  ::setenv("SLURM_CONF", (folder_ / "slurm.conf").c_str(), 1);
  start(
      fmt::format("munged --foreground --force --socket={0}/munge/socket --key-file={0}/munge/key "
                  "--log-file={0}/munge/log --pid-file={0}/munge/pid --seed-file={0}/munge/seed",
                  folder_.string()));
  try {
    if (!wait_until([&] { return fs::exists(folder_ / "munge/socket"); })) {
      throw std::runtime_error("munged does not start: " + logs());
    }
    start("slurmctld -D -f " + (folder_ / "slurm.conf").string());
    for (const char* node : kNodes) {
      start(fmt::format("slurmd -D -f {} -N {}", (folder_ / "slurm.conf").string(), node));
    }
    if (!wait_until([] { return run_command("sinfo -h -t idle -o %D").output == "2\n"; })) {
      throw std::runtime_error("the nodes do not come up: " + logs());
    }
  } catch (...) {
    stop();
    throw;
  }
}

SlurmCluster::~SlurmCluster() { stop(); }

void SlurmCluster::write_configuration() const {
  for (const char* part : {"munge", "state", "log", "spool-n1", "spool-n2", "tmp-n1", "tmp-n2"}) {
    fs::create_directories(folder_ / part);
  }
  // munged refuses keys and sockets that others could reach.
  for (const fs::path& path : {folder_, folder_ / "munge"}) {
    fs::permissions(path, fs::perms::owner_all | fs::perms::others_exec | fs::perms::group_exec);
  }
  std::random_device random;
  std::ofstream key(folder_ / "munge/key", std::ios::binary);
  for (int i = 0; i < 256; ++i) {
    const unsigned value = random();
    key.write(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  key.close();
  fs::permissions(folder_ / "munge/key", fs::perms::owner_read);
  const auto ports = free_ports();
  // cred_expire is what a requeued job waits before it starts again, at least 6 s; KillWait is the
  // time between SIGTERM and SIGKILL. Nodes on one machine need a TmpFS each for PMIx.
  std::ofstream(folder_ / "slurm.conf") << fmt::format(
      "ClusterName=desta-test\n"
      "SlurmctldHost=localhost(127.0.0.1)\n"
      "SlurmctldPort={1}\n"
      "AuthType=auth/munge\n"
      "AuthInfo=socket={0}/munge/socket,cred_expire=6\n"
      "SlurmUser=root\n"
      "SlurmdUser=root\n"
      "StateSaveLocation={0}/state\n"
      "SlurmdSpoolDir={0}/spool-%n\n"
      "TmpFS={0}/tmp-%n\n"
      "SlurmctldPidFile={0}/slurmctld.pid\n"
      "SlurmdPidFile={0}/slurmd-%n.pid\n"
      "SlurmctldLogFile={0}/log/slurmctld\n"
      "SlurmdLogFile={0}/log/slurmd-%n\n"
      "MailProg=/bin/true\n"
      "ProctrackType=proctrack/linuxproc\n"
      "TaskPlugin=task/none\n"
      "JobAcctGatherType=jobacct_gather/none\n"
      "AccountingStorageType=accounting_storage/none\n"
      "SelectType=select/cons_tres\n"
      "SelectTypeParameters=CR_CPU\n"
      "SlurmdParameters=config_overrides\n"
      "SchedulerParameters=sched_interval=1,bf_interval=1\n"
      "KillWait=5\n"
      "ReturnToService=2\n"
      "NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={2} CPUs=4\n"
      "NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={3} CPUs=4\n"
      "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n",
      folder_.string(), ports[0], ports[1], ports[2]);
}

void SlurmCluster::start(const std::string& command) {
  const std::string log = (folder_ / fmt::format("log/daemon-{}", daemons_.size())).string();
  const std::string line = fmt::format("exec {} </dev/null >{} 2>&1", command, log);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    ::_exit(127);
  }
  daemons_.push_back(pid);
}

void SlurmCluster::stop() noexcept {
  try {
    // Nodes first: what they run ends with them, and the controller need not be told.
    for (auto daemon = daemons_.rbegin(); daemon != daemons_.rend(); ++daemon) {
      ::kill(*daemon, SIGTERM);
    }
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!descendants().empty()) {
      if (std::chrono::steady_clock::now() > patience) {
        for (const pid_t pid : descendants()) {
          ::kill(pid, SIGKILL);
        }
      }
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    daemons_.clear();
    ::unsetenv("SLURM_CONF");
    fs::remove_all(folder_);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "the test's Slurm is not cleared away: %s\n", error.what());
  }
}

std::string SlurmCluster::submit(const std::string& arguments) const {
  const auto finished = run_command("sbatch --parsable " + arguments);
  if (finished.code != 0) {
    std::fprintf(stderr, "sbatch: %s\n", finished.output.c_str());
    return "";
  }
  return finished.output.substr(0, finished.output.find('\n'));
}

std::string SlurmCluster::state(const std::string& job) const {
  const auto states = states_of(job);
  return states.empty() ? "" : states.front();
}

bool SlurmCluster::is_over(const std::string& job) const {
  const auto states = states_of(job);
  return !states.empty() && std::all_of(states.begin(), states.end(), [](const auto& state) {
    return kEndStates.contains(state);
  });
}

bool SlurmCluster::wait_until(const std::function<bool()>& due, std::chrono::seconds patience) {
  const auto limit = std::chrono::steady_clock::now() + patience;
  while (!due()) {
    if (std::chrono::steady_clock::now() > limit) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return true;
}

std::string SlurmCluster::wait_for(const std::string& job) const {
  std::string last;
  (void)wait_until(
      [&] {
        last = state(job);
        return kEndStates.contains(last);
      },
      std::chrono::seconds(150));
  return last;
}

std::string SlurmCluster::logs() const {
  std::string text;
  for (const auto& entry : fs::directory_iterator(folder_ / "log")) {
    const std::string log = read_text(entry.path());
    text += fmt::format("--- {}\n{}", entry.path().filename().string(),
                        log.substr(log.size() - std::min<std::size_t>(log.size(), 3000)));
  }
  return text;
}

}  // namespace desta::tests
