#!/usr/bin/env bash
# Starts a Slurm of one node on this machine: munged, slurmctld and slurmd, without systemd, cgroups or a database.
#
#     tests/slurm/start-slurm.sh FOLDER [PORT] && export SLURM_CONF=FOLDER/slurm.conf
#     tests/slurm/stop-slurm.sh FOLDER
#
# All files are written to FOLDER, including the logs. The daemons listen on PORT (16817) and on the next port. Any
# user may start them, for the jobs of this user alone.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd -P)
port=${2:-16817}
here=$(cd "$(dirname "$0")" && pwd -P)
node=$(hostname -s) # slurmd looks for itself under this name
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

# If the name of the machine is a loopback address, listen to this machine alone.
listen=''
case $(getent ahostsv4 "$(hostname)" || true) in
127.0.0.1*) listen=CommunicationParameters=NoInAddrAny,NoCtldInAddrAny ;;
esac

# cred_expire: the time that a requeued job waits, at least 5 s; the default is 120 s. pgid: without cgroups, it ends
# the processes that a batch script left running.
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

# Each daemon runs in the foreground of its own session. So $! is the daemon, and no interrupt reaches it.
launch() {
    setsid "$@" </dev/null >>"$folder/${1##*/}.log" 2>&1 &
    echo $! >>"$folder/pids"
}
within() { # SECONDS COMMAND…: succeeds if the command succeeds within this time
    local end=$((SECONDS + $1))
    until "${@:2}" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}
answers() { munge -S "$socket" -n | unmunge -S "$socket" -n; }
is_idle() { timeout 5 sinfo -h -o %T | grep -qx idle && scontrol show node "$node" | grep -q 'SlurmdStartTime=[0-9]'; }

# --force: munged refuses folders that other users cannot enter, such as those of the tests.
launch munged -F --force --socket="$socket" --key-file="$folder/munge/key" --pid-file="$folder/munge/pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" --origin=127.0.0.1
within 10 answers || fail "munged does not answer"
launch slurmctld -D -c -f "$SLURM_CONF"
launch slurmd -D -c -f "$SLURM_CONF"
within 30 is_idle || fail "the node is not idle after 30 s"
