#!/usr/bin/env bash
# A study on a real Slurm: controller and two nodes with a pretend GPU each on this host, a node killed while it works, and the merged
# files compared byte for byte with those of one process. Prints what happens; docs/slurm.txt is such a run.
#
#	ADVSWEEP    an advsweep that is built already
#
# It takes root and Debian's packages, which it installs where they are missing. All runs in name spaces of its own: nothing listens but on
# loopback, and when the script ends, however it ends, the kernel kills what is left.
set -euo pipefail
shopt -s inherit_errexit
root=$(cd "$(dirname "$0")/.." && pwd)

if [ "${1:-}" != inside ]; then
	[ "$(id -u)" = 0 ] || { echo "slurm.sh: run it as root: Slurm's nodes start jobs for other users" >&2; exit 2; }
	missing=()
	for pair in munged:munge slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client ip:iproute2 ps:procps; do
		command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
	done
	if [ ${#missing[@]} -gt 0 ]; then
		echo "slurm.sh: installing ${missing[*]}" >&2
		apt-get update -qq
		# At this run level no package starts its service.
		RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	fi
	state=$(mktemp -d)
	trap 'rm -rf "$state"' EXIT
	chmod 755 "$state"
	if [ -n "${ADVSWEEP:-}" ]; then
		cp "$ADVSWEEP" "$state/advsweep"
	else
		(cd "$root" && CGO_ENABLED=0 go build -trimpath -o "$state/advsweep" ./cmd/advsweep)
	fi
	code=0
	unshare --net --uts --mount --pid --fork --kill-child --mount-proc "$0" inside "$state" 2>&1 |
		sed -u "s#$state#STATE#g" || code=$?
	exit $code
fi

state=$2 advsweep=$2/advsweep
cd "$state"
unset "${!SLURM_@}" "${!SBATCH_@}" "${!SQUEUE_@}" "${!SINFO_@}"
export HOME=$state SLURM_CONF=$state/slurm.conf
say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() {
	say "FAILED: $*"
	squeue -o '%i %T %N %r' || true
	tail -n 30 log/* || true
	exit 1
}
# until_true SECONDS WHAT COMMAND...: waits for the command to succeed.
until_true() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "waited in vain until $what"
		sleep 0.2
	done
}

# The host is called cluster here, and knows no other. The C library leaves out 127.0.0.1 when it looks a name up, as long as the host has
# no address but loopback's: this one is for documentation (RFC 5737), and nobody else can reach it.
hostname cluster
printf '127.0.0.1 localhost cluster\n' >hosts
mount --bind hosts /etc/hosts
ip link set lo up
ip addr add 192.0.2.1/32 dev lo

mkdir ctl node1 node2 log
mknod nvidia0 c 1 3
mknod nvidia1 c 1 3
(umask 077 && head -c 64 /dev/urandom >key)
cat >slurm.conf <<EOF
ClusterName=test
SlurmctldHost=cluster(127.0.0.1)
SlurmctldPort=16817
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
# A task that is requeued waits until its old credentials have expired.
AuthInfo=socket=$state/munge,cred_expire=20
SlurmUser=root
StateSaveLocation=$state/ctl
SlurmctldPidFile=$state/slurmctld.pid
SlurmctldLogFile=$state/log/slurmctld
SlurmdSpoolDir=$state/%n
SlurmdPidFile=$state/%n.pid
SlurmdLogFile=$state/log/%n
# Nodes have what is written below, whatever this host has.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdTimeout=6
ReturnToService=2
MinJobAge=86400
JobCompType=jobcomp/filetxt
JobCompLoc=$state/log/completed
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName=node1 NodeHostname=cluster NodeAddr=127.0.0.1 Port=16818 CPUs=8 RealMemory=16384 Gres=gpu:1
NodeName=node2 NodeHostname=cluster NodeAddr=127.0.0.1 Port=16819 CPUs=8 RealMemory=16384 Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
printf 'NodeName=node%d Name=gpu File=%s/nvidia%d\n' 1 "$state" 0 2 "$state" 1 >gres.conf

munged --force --key-file="$state/key" --socket="$state/munge" --pid-file="$state/munged.pid" --seed-file="$state/seed" --log-file="$state/log/munged" 2>log/munged.err
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF" -N node1
slurmd -f "$SLURM_CONF" -N node2
idle() { [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | wc -l)" = 2 ]; }
until_true 30 "both nodes are there" idle
say "$(slurmctld -V): nodes $(sinfo -h -N -o '%N %T %G' | paste -sd, | sed 's/,/, /g')"
listening=$(ss -Hltun | awk '{print $5}' | sort | paste -sd' ')
say "listening: $listening"
for address in $listening; do [[ $address == 127.0.0.1:* ]] || fail "$address is not on loopback"; done

# A name that wants quoting in a shell and in Slurm.
dir="$state/a study, 100% \"it's\" #1 \$HOME"
cat >study.toml <<'EOF'
name = "Two_models"
attack = "fgsm,pgd:steps=20:restarts=4,noise"
eps = "0:0.3:0.05"
bounds = "0,1"
seeds = [1, 2]
[[model]]
file = "mlp"
[[model]]
file = "cnn"
[[data]]
n = 100
[shards]
seconds = 0.2
EOF
"$advsweep" plan study.toml --quiet --out "$dir" | sed 's/^/          /'
cp -r "$dir" alone
say "one process: advsweep work"
"$advsweep" work alone --quiet >/dev/null

command=$("$advsweep" submit "$dir" --on slurm --tasks 5)
sed 's/^/          | /' "$dir/job.sbatch"
say "$command"
# The study is one for the CPU, so the script asks for no GPU: this line does.
command=${command/#sbatch /sbatch --parsable --gres=gpu:1 --cpus-per-task=2 }
job=$(eval "$command")

on_node2() { [ -n "$(squeue -h -j "$job" -w node2 -t R -o %A)" ]; }
until_true 30 "a task runs on node2" on_node2
sleep 1.5
task=$(squeue -h -j "$job" -w node2 -t R -o %K) id=$(squeue -h -j "$job" -w node2 -t R -o %A)
[ -n "$id" ] || fail "the task on node2 was done too soon"
say "running: $(squeue -h -j "$job" -t R -o 'task %K on %N' | paste -sd, | sed 's/,/, /g')"
scontrol show job -d "$id" | grep -q 'GRES=gpu:1' || fail "task $task has no GPU"

# descendants PID: the process and all below it.
descendants() {
	local child
	echo "$1"
	for child in $(ps -o pid= --ppid "$1"); do descendants "$child"; done
}
step=$(ps -eo pid=,args= | awk -v name="slurmstepd: [$id.batch]" '{ pid = $1; $1 = ""; if (substr($0, 2) == name) print pid }')
[ -n "$step" ] || fail "no step of job $id"
mapfile -t victims < <(cat node2.pid; descendants "$step")
names=$(for pid in "${victims[@]}"; do cut -c1-15 "/proc/$pid/comm"; done | sort | paste -sd' ')
grep -q advsweep <<<"$names" || fail "advsweep is not among $names"
kill -KILL "${victims[@]}"
say "node2 and task $task killed with SIGKILL: $names"

requeued() { [ "$(scontrol show job "$id" | sed -n 's/.*Restarts=\([0-9]*\).*/\1/p')" = 1 ]; }
until_true 60 "task $task is requeued" requeued
say "node2 is $(sinfo -h -n node2 -o %T), task $task requeued: $(scontrol show job "$id" | grep -oE 'JobState=[A-Z]+ Reason=[A-Za-z_]+')"
slurmd -f "$SLURM_CONF" -N node2
back() { sinfo -h -n node2 -o %t | grep -qE '^(idle|alloc|mix)$'; }
until_true 60 "node2 is back" back
say "node2 is back"
empty() { [ -z "$(squeue -h -j "$job" -t PD,CF,R,CG)" ]; }
until_true 400 "the array is done" empty
say "the array is done"
sed -nE 's/.*JobState=([A-Z_]+) .*NodeList=([^ ]+) .*ArrayTaskId=([0-9]+) .*ExitCode=([0-9:]+).*/          task \3 on \2: \1, exit code \4/p' log/completed
[ "$(grep -c 'JobState=COMPLETED' log/completed)" = 5 ] || fail "not all 5 tasks completed"
for i in 0 1 2 3 4; do [ -e "$dir/logs/${job}_$i.log" ] || fail "no log of task $i"; done

"$advsweep" status "$dir" | sed 's/^/          /'
"$advsweep" merge "$dir" --quiet >/dev/null
diff -r "$dir/runs" alone/runs || fail "the merged files differ from those of one process"
count=$(find alone/runs -type f | wc -l)
[ "$count" -ge 20 ] || fail "only $count files compared"
say "merged: $count files, all equal to those of one process"
