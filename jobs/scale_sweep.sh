#!/usr/bin/env bash
# A scaling sweep as a Slurm array whose index is the repeat, from 1.
#
#   sbatch jobs/scale_sweep.sh                         # 1, 2 and 4 CPU devices on two nodes
#   sbatch --nodes=2 --gpus-per-node=4 --ntasks-per-node=4 --exclusive jobs/scale_sweep.sh
#   sbatch --array=1-6%1 jobs/scale_sweep.sh --sweep mine.toml --launcher mpirun --results DIR
#
# A device is a GPU that the job got, else one of its tasks. Each task runs all device counts of
# its repeat in random order on the same nodes, one task after another, so that neither other nodes
# nor a cluster that drifts look like scaling. When the array is over one more job draws the plots.
# `hpcbench sweep submit` uses this script too, with --record; --setup=FILE, first, is shell that is
# read before anything else: a site's `setup`.
#
#SBATCH --job-name=hpcbench
#SBATCH --array=1-3%1
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=hpcbench-%A_%a.out
set -uo pipefail

if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "hpcbench: this runs inside a Slurm job: sbatch $0" >&2
    exit 2
fi
cd "${HPCBENCH_HOME:-${SLURM_SUBMIT_DIR:-.}}" || exit 3
case "${1:-}" in
    --setup=*)
        [ -r "${1#--setup=}" ] || { echo "hpcbench: $(hostname) cannot read ${1#--setup=}" >&2; exit 3; }
        . "${1#--setup=}"
        shift
        set_up=yes
        ;;
esac
python=${HPCBENCH_PYTHON:-.venv/bin/python}
if ! command -v "$python" >/dev/null; then
    echo "hpcbench: $python is not here; submit from the project (or set HPCBENCH_HOME) after make setup, or set HPCBENCH_PYTHON to the Python that has hpcbench" >&2
    exit 3
fi
# As typed, by the file of this cluster's site, where there is one. What was submitted by one has
# brought its setup.
case "${set_up:-} ${1:-}" in
    yes* | *--record=*) ;;
    *)
        setup=$("$python" -m hpcbench.site setup) || exit
        . <(echo "$setup")
        ;;
esac

task=
near_limit=
# Slurm tells this shell alone that the time limit is near; the task passes it on to the ranks.
trap 'near_limit=yes; kill -USR1 $task 2>/dev/null' USR1
trap 'kill -TERM $task 2>/dev/null' TERM
"$python" -m hpcbench.sweeps.task "$@" &
task=$!
while kill -0 "$task" 2>/dev/null; do wait "$task"; done
wait "$task"
status=$?

# 138: the task was still starting, and USR1 ended it.
if [ -n "$near_limit" ] && { [ "$status" = 75 ] || [ "$status" = 138 ]; }; then
    # This task alone: an array's last task has the number of the whole array.
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" && sleep 60
fi
exit "$status"
