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
case "${1:-}" in
    --setup=*)
        [ -r "${1#--setup=}" ] || { echo "hpcbench: $(hostname) cannot read ${1#--setup=}" >&2; exit 3; }
        . "${1#--setup=}"
        shift
        ;;
esac
exec "${HPCBENCH_PYTHON:-.venv/bin/python}" -m hpcbench.plot "$1" --output "$1/figures"
