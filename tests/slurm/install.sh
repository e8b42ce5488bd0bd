#!/bin/sh
# Installs Slurm from Debian's packages, for tests/test_slurm.py. If Slurm is installed already, it does nothing. It
# starts no service: the tests start their own, in their own folder. If it fails, it prints one line.
set -eu
PATH=$PATH:/usr/sbin:/sbin
is_installed() { command -v slurmctld && command -v slurmd && command -v sbatch && command -v munged; }
if is_installed >/dev/null; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests/slurm/install.sh: needs root and apt-get to install Slurm" >&2
    exit 1
fi

policy=/usr/sbin/policy-rc.d # Debian runs this script to ask whether to start a service that was installed
if ! [ -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt() {
    timeout 120 apt-get -qq -y -o DPkg::Lock::Timeout=60 -o Acquire::Retries=0 -o Acquire::http::Timeout=10 \
        "$@" >/dev/null 2>&1
}
install() { apt --no-install-recommends install slurmctld slurmd slurm-client munge; }
install || { apt update && install; } || {
    echo "tests/slurm/install.sh: apt-get could not install Slurm" >&2
    exit 1
}
