#!/usr/bin/env bash
# Starts a Slurm of one node on this machine: munged, slurmctld and slurmd, without systemd, cgroups or a database.
#
#     tests/slurm/start-slurm.sh FOLDER [PORT] && export SLURM_CONF=FOLDER/slurm.conf
#     tests/slurm/stop-slurm.sh FOLDER
#
# All that they write lies in FOLDER, logs included. Listens on PORT (16817) and the one after it. Any user may start
# it, for jobs of that user alone.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd -P)
port=${2:-16817}
here=$(cd "$(dirname "$0")" && pwd -P)
node=$(hostname -s) # slurmd knows itself by this name
socket=$folder/munge/socket
export PATH=$PATH:/usr/sbin:/sbin SLURM_CONF=$folder/slurm.conf

fail() {
    tail -n 5 "$folder"/*.log >&2 || true
    "$here/stop-slurm.sh" "$folder"
    echo "start-slurm: $*" >&2
    exit 1
}

[ ! -e "$folder/pids" ] || { echo "start-slurm: there is a Slurm in $folder already; stop it first" >&2; exit 1; }
[ ${#socket} -le 100 ] || { echo "start-slurm: $folder: too long a path for a socket" >&2; exit 1; }
mkdir -p "$folder"/{munge,state,spool}
(umask 077 && head -c 128 /dev/urandom >"$folder/munge/key")

# Where the machine's name is a loopback address, nobody else is listened to.
listen=''
case $(getent ahostsv4 "$(hostname)" || true) in
127.0.0.1*) listen=CommunicationParameters=NoInAddrAny,NoCtldInAddrAny ;;
esac

# cred_expire: a requeued job waits that long, 5 s at least, else 120 s. pgid: ends what a batch script left running, without cgroups.
cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
$listen
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
MailProg=/bin/true
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
KillWait=5
MinJobAge=3600
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF

# In the foreground of a session of its own each, so that $! is the daemon and no interrupt reaches it.
launch() {
    setsid "$@" </dev/null >>"$folder/${1##*/}.log" 2>&1 &
    echo $! >>"$folder/pids"
}
within() { # SECONDS COMMAND…: whether the command succeeds by then
    local end=$((SECONDS + $1))
    until "${@:2}" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}
answers() { munge -S "$socket" -n | unmunge -S "$socket" -n; }
is_idle() { timeout 5 sinfo -h -o %T | grep -qx idle && scontrol show node "$node" | grep -q 'SlurmdStartTime=[0-9]'; }

# --force: munged dislikes folders that are closed to others, as those of tests are.
launch munged -F --force --socket="$socket" --key-file="$folder/munge/key" --pid-file="$folder/munge/pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" --origin=127.0.0.1
within 10 answers || fail "munged does not answer"
launch slurmctld -D -c -f "$SLURM_CONF"
launch slurmd -D -c -f "$SLURM_CONF"
within 30 is_idle || fail "the node is not idle after 30 s"
