#!/usr/bin/env bash
# Two hosts on this machine, as root: two network namespaces with names of their own and a link between them, shaped
# by tc. Runs an MPI job over them, RANKS_A_HOST ranks (2) on each:
#   bench/collectives/two_hosts.sh [RATE [DELAY]] -- MPIRUN ARGUMENTS...
# RATE and DELAY (of one direction) as tc takes them; without them the link is as fast as the kernel makes it.
#   bench/collectives/two_hosts.sh 10gbit 20us -- build/bin/desta-bench-collectives --no-peers
set -euo pipefail

ranks=${RANKS_A_HOST:-2}
rate=""
delay=""
if [ "${1:-}" != "--" ]; then rate=$1; shift; fi
if [ "${1:-}" != "--" ]; then delay=$1; shift; fi
shift
here=$(cd "$(dirname "$0")/../.." && pwd)
source "$here/launch/mpi_environment.sh"

work=$(mktemp -d)
hosts=(desta-a desta-b)
cleanup() {
  for host in "${hosts[@]}"; do ip netns del "$host" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

ip netns add desta-a
ip netns add desta-b
ip link add veth-a netns desta-a mtu 9000 type veth peer name veth-b netns desta-b mtu 9000
for i in 1 2; do
  host=${hosts[$((i - 1))]}
  link=veth-${host#desta-}
  ip -n "$host" addr add "10.98.0.$i/24" dev "$link"
  ip -n "$host" link set "$link" up
  ip -n "$host" link set lo up
  if [ -n "$rate" ]; then
    # netem alone knows delays, but not every kernel has it. Its queue is of 16 MiB: what two ranks may have under way.
    if [ -n "$delay" ]; then
      ip netns exec "$host" tc qdisc add dev "$link" root netem delay "$delay" rate "$rate" limit 2000
    else
      ip netns exec "$host" tc qdisc add dev "$link" root tbf rate "$rate" burst 1mb latency 100ms
    fi
  fi
done

# What mpirun calls instead of ssh: the host's name, then a command line.
cat >"$work/agent" <<AGENT
#!/usr/bin/env bash
host=\$1
shift
exec ip netns exec "\$host" unshare --uts bash -c "hostname \$host; exec bash -c \"\\\$0\"" "\$*"
AGENT
chmod +x "$work/agent"
printf '10.98.0.1 desta-a\n10.98.0.2 desta-b\n' >"$work/hosts"
mkdir -p /etc/netns/desta-a /etc/netns/desta-b
trap 'cleanup; rm -rf /etc/netns/desta-a /etc/netns/desta-b' EXIT
cp "$work/hosts" /etc/netns/desta-a/hosts
cp "$work/hosts" /etc/netns/desta-b/hosts

"$work/agent" desta-a "cd '$PWD' && TMPDIR='$work' mpirun --mca plm_rsh_agent '$work/agent' \
  --mca plm_rsh_no_tree_spawn 1 --mca oob_tcp_if_include 10.98.0.0/24 --mca btl_tcp_if_include 10.98.0.0/24 \
  --host desta-a:$ranks,desta-b:$ranks -n $((2 * ranks)) $*"
