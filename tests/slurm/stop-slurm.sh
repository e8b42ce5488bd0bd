#!/usr/bin/env bash
# Ends the jobs, and then the daemons, that start-slurm.sh started in FOLDER.
#
#     tests/slurm/stop-slurm.sh FOLDER
set -euo pipefail
folder=$(cd "$1" && pwd -P)
export SLURM_CONF=$folder/slurm.conf
[ -e "$folder/pids" ] || exit 0

# A process gets a signal only if its command line names this folder, because another process may have its number now.
is_ours() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF "$folder/"; }
jobs_left() { timeout 5 squeue -h -t PD,R,CG,S,CF 2>/dev/null | grep -q .; }

timeout 5 scancel --user="$(id -un)" 2>/dev/null || true # before the daemons, because the jobs would outlive slurmd
for _ in {1..75}; do
    jobs_left || break
    sleep 0.2
done
for pid in $(tac "$folder/pids"); do
    for attempt in {1..100}; do
        is_ours "$pid" || break
        [ "$attempt" -gt 1 ] || kill "$pid"
        [ "$attempt" -lt 100 ] || kill -KILL "$pid"
        sleep 0.1
    done
done
rm -f "$folder/pids"
