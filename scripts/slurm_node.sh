#!/usr/bin/env bash
# A real Slurm of one node on this machine, to try launch=slurm: controller, node daemon and munge, all on loopback.
#
#   scripts/slurm_node.sh up DIR     start it; DIR is a new directory for configuration, state and logs
#   . DIR/env.sh                     let sbatch, squeue and gelora find it
#   scripts/slurm_node.sh down DIR   end its daemons and remove DIR
#
# It needs root, and the packages slurm-wlm and munge (Debian: apt-get install --no-install-recommends slurm-wlm munge).
# Nothing outside DIR is written. Partition `low` is the default; jobs of partition `high` preempt its jobs, which
# Slurm then puts into the queue again. SLURM_NODE_CPUS sets how many CPUs it hands out (default: those of the machine).
set -euo pipefail

usage() { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }

up() {
    local dir=$1 name cpus
    [ "$(id -u)" = 0 ] || { echo "slurm_node.sh: munged and slurmd need root" >&2; exit 2; }
    for program in munged slurmctld slurmd; do
        command -v "$program" >/dev/null || { echo "slurm_node.sh: $program is missing; install slurm-wlm and munge" >&2; exit 2; }
    done
    [ ! -e "$dir" ] || { echo "slurm_node.sh: $dir exists; give a new directory" >&2; exit 2; }
    mkdir -p "$dir"/{munge,state,spool,log}
    dir=$(realpath "$dir")
    name=$(hostname -s)
    cpus=${SLURM_NODE_CPUS:-$(nproc)}
    chmod 755 "$dir" "$dir/munge"
    (umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
    cat >"$dir/slurm.conf" <<CONF
ClusterName=trial
SlurmctldHost=$name(127.0.0.1)
SlurmUser=root
SlurmctldPort=${SLURM_NODE_PORT:-46817}
SlurmdPort=$((${SLURM_NODE_PORT:-46817} + 1))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=60
MinJobAge=300
ReturnToService=2
NodeName=$name NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=low Nodes=$name Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=high Nodes=$name PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
CONF
    printf 'export SLURM_CONF=%q\n' "$dir/slurm.conf" >"$dir/env.sh"
    export SLURM_CONF=$dir/slurm.conf
    munged --num-threads=1 --socket="$dir/munge/socket" --key-file="$dir/munge/key" --pid-file="$dir/munge/pid" \
        --seed-file="$dir/munge/seed" --log-file="$dir/munge/log" --force 2>/dev/null
    slurmctld
    slurmd
    for _ in $(seq 100); do
        [ "$(sinfo --noheader --partition=low --format=%T 2>/dev/null)" = idle ] && { echo ". $dir/env.sh"; return; }
        sleep 0.2
    done
    echo "slurm_node.sh: the node is not ready; its logs are in $dir/log" >&2
    exit 1
}

down() {
    local dir pid file
    dir=$(realpath "$1")
    [ -f "$dir/slurm.conf" ] || { echo "slurm_node.sh: no Slurm of this script in $dir" >&2; exit 2; }
    export SLURM_CONF=$dir/slurm.conf
    timeout 10 scancel --user=root 2>/dev/null || true
    for file in slurmd.pid slurmctld.pid munge/pid; do
        [ -f "$dir/$file" ] || continue
        pid=$(cat "$dir/$file")
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}

[ $# = 2 ] || usage
case $1 in
    up) up "$2" ;;
    down) down "$2" ;;
    *) usage ;;
esac
