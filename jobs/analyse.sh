#!/usr/bin/env bash
# Draws the plots of a sweep as a job of its own: sbatch jobs/analyse.sh results/default
#
#SBATCH --job-name=hpcbench-analysis
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --time=00:15:00
#SBATCH --output=hpcbench-analysis-%j.out
set -uo pipefail

cd "${HPCBENCH_HOME:-${SLURM_SUBMIT_DIR:-.}}" || exit 3
read_setup() {
    # Modules of many sites read variables that are not set.
    set +u
    trap 'echo "hpcbench: the setup of the site failed with status $? at: $BASH_COMMAND (|| true behind it, where that does not matter)" >&2; exit 3' ERR
    . "$1"
    trap - ERR
    set -u
}
case "${1:-}" in
    --setup=*)
        read_setup "${1#--setup=}"
        shift
        ;;
esac
exec "${HPCBENCH_PYTHON:-.venv/bin/python}" -m hpcbench.plot "$1" --output "$1/figures"
