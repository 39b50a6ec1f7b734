#!/usr/bin/env bash
# A study on three hosts with a bad network between them: one serves, one works and is killed with SIGKILL, one works with another
# instruction set, arm64 under qemu-aarch64. Packets come DELAY late and LOSS of them are lost; for PARTITION seconds in the middle no
# worker reaches the server. The merged files are compared byte for byte with those of one process. docs/hosts.txt is such a run.
#
#	ADVSWEEP       an advsweep that is built already, for this machine; ADVSWEEP_ARM64 one for arm64
#	DELAY, LOSS    each way, 50ms; in percent, 5
#	PARTITION      in seconds, 20
#	IMAGES         of the study, 200
#
# The hosts are network namespaces, which take root and iproute2; a kernel without netem gets delay and loss from scripts/badnet, which
# stands in each worker's host. Without root all hosts are this one, and the partition is badnet's too. It says what is missing. In
# namespaces nothing listens outside of them, and when the script ends, however it ends, the kernel kills what is left.
set -euo pipefail
shopt -s inherit_errexit
root=$(cd "$(dirname "$0")/.." && pwd)
delay=${DELAY:-50ms} loss=${LOSS:-5} partition=${PARTITION:-20} images=${IMAGES:-200}

if [ "${1:-}" != inside ]; then
	state=$(mktemp -d)
	trap 'rm -rf "$state"' EXIT
	mkdir "$state/log"
	build() { (cd "$root" && CGO_ENABLED=0 go build -trimpath -o "$state/$1" "$2"); }
	if [ -n "${ADVSWEEP:-}" ]; then cp "$ADVSWEEP" "$state/advsweep"; else build advsweep ./cmd/advsweep; fi
	if [ -n "${ADVSWEEP_ARM64:-}" ]; then cp "$ADVSWEEP_ARM64" "$state/advsweep-arm64"; else GOARCH=arm64 build advsweep-arm64 ./cmd/advsweep; fi
	build badnet ./scripts/badnet
	enter=()
	if [ "$(id -u)" != 0 ]; then
		echo "no root: no network namespaces, all hosts are this one"
	elif ! command -v ip >/dev/null; then
		echo "no ip here (package iproute2): no network namespaces, all hosts are this one"
	elif ! unshare --net --mount true; then
		echo "unshare does not work here: no network namespaces, all hosts are this one"
	else
		mkdir -p /run/netns
		enter=(unshare --net --mount --pid --fork --kill-child --mount-proc)
	fi
	code=0
	"${enter[@]}" "$0" inside "$state" "${#enter[@]}" 2>&1 | sed -u "s#$state#STATE#g" || code=$?
	exit $code
fi

state=$2 spaces=$3 advsweep=$2/advsweep
cd "$state"
export HOME=$state
trap 'kill -KILL $(jobs -p) 2>/dev/null || true' EXIT
say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() {
	say "FAILED: $*"
	tail -n 20 log/* || true
	exit 1
}

# on HOST COMMAND...: replaces this process by the command on the host, so that a process has one number.
on() { if [ "$spaces" != 0 ]; then exec ip netns exec "$@"; else shift && exec "$@"; fi; }
hosts=(head left right)
proxies=() server=127.0.0.1:14222
if [ "$spaces" != 0 ]; then
	mount -t tmpfs tmpfs /run/netns
	server=192.0.2.1:14222
	ip link add name wire type bridge 2>/dev/null || bridge=none
	k=0
	for host in "${hosts[@]}"; do
		k=$((k + 1))
		ip netns add "$host"
		ip -n "$host" link set lo up
		[ "${bridge:-}" != none ] || continue
		ip link add "to-$host" type veth peer name eth0 netns "$host"
		ip link set "to-$host" master wire up
		ip -n "$host" addr add "192.0.2.$k/24" dev eth0
		ip -n "$host" link set eth0 up
	done
	[ "${bridge:-}" != none ] || fail "this kernel has no bridge to put between network namespaces"
	ip link set wire up
	netem=yes
	for host in "${hosts[@]}"; do
		ip netns exec "$host" tc qdisc add dev eth0 root netem delay "$delay" loss "$loss%" 2>/dev/null || netem=no
	done
	say "hosts: network namespaces ${hosts[*]}, instruction sets $(uname -m) and aarch64"
else
	netem=no
fi
if [ "$netem" = yes ]; then
	say "network: netem, $delay late, $loss % lost"
else
	say "network: no netem here (module sch_netem): badnet, $delay late, $loss % lost and sent again"
	port=14222
	for host in left right; do
		[ "$spaces" != 0 ] || port=$((port + 1))
		(on "$host" ./badnet -listen "127.0.0.1:$port" -to "$server" -delay "$delay" -loss "$(awk -v p="$loss" 'BEGIN { print p / 100 }')" -hold "$state/hold" >"log/badnet-$host" 2>&1) &
		proxies+=($!)
		declare "at_$host=127.0.0.1:$port"
	done
fi
url() { local at=at_$1; echo "nats://${!at:-$server}"; }
cut_off() { if [ "$spaces" != 0 ]; then ip link set to-head down; else touch hold; fi; }
reach() { if [ "$spaces" != 0 ]; then ip link set to-head up; else rm hold; fi; }

arm=(qemu-aarch64 ./advsweep-arm64)
if ! command -v qemu-aarch64 >/dev/null; then
	say "no qemu-aarch64 here (package qemu-user): host right has the instruction set of this machine"
	arm=(./advsweep)
fi

cat >study.toml <<END
name = "hosts"
attack = "fgsm,pgd:steps=10,noise"
eps = "0:0.2:0.1"
bounds = "0,1"
seeds = [1, 2, 3, 4, 5, 6, 7, 8]
[[model]]
file = "mlp"
[[data]]
n = $images
[shards]
seconds = 0.01
END
./advsweep plan study.toml --quiet --out alone | sed 's/^/          /'
cp -r alone study
say "one process: advsweep work"
./advsweep work alone --quiet >/dev/null

done_now() { ./advsweep status study --format json | sed -n 's/^  "done": \([0-9]*\),$/\1/p'; }
all=$(./advsweep status study --format json | sed -n 's/^  "shards": \([0-9]*\),$/\1/p')
# until_done N SECONDS: waits until N shards are done.
until_done() {
	local end=$((SECONDS + $2))
	until [ "$(done_now)" -ge "$1" ]; do
		[ $SECONDS -lt $end ] || fail "waited in vain until $1 of $all shards are done"
		[ "${served:-}" = "" ] || kill -0 "$served" 2>/dev/null || fail "serve has ended"
		sleep 0.3
	done
}
work() { # HOST NAME COMMAND...
	local host=$1 name=$2
	shift 2
	(on "$host" "$@" work "$(url "$host")" --credentials worker.nk --cache "cache-$host" --threads 1 --name "$name" --quiet >"log/$name" 2>&1) &
	worker=$!
}

listen=$server
(on head ./advsweep serve study --listen "${listen/192.0.2.1/0.0.0.0}" --credentials worker.nk --ack-wait 8s --http none >log/serve 2>&1) &
served=$!
for _ in $(seq 100); do [ -s worker.nk ] && break; sleep 0.1; done
[ -s worker.nk ] || fail "serve made no credentials"
work right right "${arm[@]}"
right=$worker
until_done 1 300 # emulated, it is slow: else the other could do all of it
say "$(done_now) of $all shards by right alone"
work left left-first ./advsweep
left=$worker
until_done $((all / 5)) 300
say "$(done_now) of $all shards: SIGKILL to the worker on left"
kill -KILL "$left"
wait "$left" 2>/dev/null || true
work left left-second ./advsweep
left=$worker
until_done $((all * 2 / 5)) 300
cut_off
before=$(done_now)
say "$before of $all shards: no worker reaches the server for $partition s"
sleep "$partition"
after=$(done_now)
[ "$after" -lt "$all" ] || fail "the study ended without the network"
reach
say "$after of $all shards: they reach it again"
end=$((SECONDS + 900))
while kill -0 "$served" 2>/dev/null; do
	[ $SECONDS -lt $end ] || fail "serve does not end: $(done_now) of $all shards"
	sleep 0.5
done
code=0
wait "$served" || code=$?
[ "$code" = 0 ] || fail "serve: exit code $code"
for pid in "$left" "$right"; do
	code=0
	wait "$pid" || code=$?
	[ "$code" = 0 ] || say "a worker ended with exit code $code: $(tail -qn1 log/left-second log/right | paste -sd' ')"
done
./advsweep status study | sed 's/^/          /'
./advsweep status study | grep -qE '^right .* [1-9][0-9]* +0 +[^ ]+ ago$' || fail "right has done nothing"
[ ${#proxies[@]} = 0 ] || {
	kill -INT "${proxies[@]}" 2>/dev/null || true
	sleep 0.5
	say "badnet: left $(cat log/badnet-left), right $(cat log/badnet-right)"
}
diff -r study/runs alone/runs || fail "the merged files differ from those of one process"
count=$(find alone/runs -type f | wc -l)
[ "$count" -ge 20 ] || fail "only $count files compared"
say "merged: $count files, all equal to those of one process"
