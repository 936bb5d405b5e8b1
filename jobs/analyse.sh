#!/usr/bin/env bash
# Draws the plots of a sweep as a job of its own: sbatch jobs/analyse.sh results/default
#
#SBATCH --job-name=hpcbench-analysis
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --time=00:15:00
#SBATCH --output=hpcbench-analysis-%j.out
set -euo pipefail

cd "${HPCBENCH_HOME:-${SLURM_SUBMIT_DIR:-.}}"
case "${1:-}" in
    --setup=*)
        # Modules of many sites read variables that are not set.
        set +u
        . "${1#--setup=}"
        set -u
        shift
        ;;
esac
exec "${HPCBENCH_PYTHON:-.venv/bin/python}" -m hpcbench.plot "$1" --output "$1/figures"
