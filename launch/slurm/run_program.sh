# The end of a batch script, sourced: starts $program with the script's arguments by $launcher, passes
# Slurm's signals on to it, waits for it and ends with its exit code.
source launch/mpi_environment.sh

case $launcher in
  srun) start=(srun --mpi=pmix --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}") ;;
  mpirun)
    start=(mpirun -n "$SLURM_NTASKS")
    # Ended by SIGTERM, mpirun waits so many seconds before it sends its ranks SIGTERM, and as long again
    # before SIGKILL (Open MPI 4.1.4, measured). Its default of 1 is short for a checkpoint.
    export OMPI_MCA_odls_base_sigkill_timeout="${OMPI_MCA_odls_base_sigkill_timeout:-15}"
    ;;
  *)
    echo "DESTA_LAUNCHER=$launcher: must be srun or mpirun" >&2
    exit 2
    ;;
esac

"${start[@]}" "${DESTA_BIN:-build/bin}/$program" "$@" &
child=$!

# Before the time limit, and by `scancel --batch`, Slurm signals this shell alone. A trapped signal cuts
# `wait` short, so wait again; 127 then says that the child had ended. SIGTERM reaches the ranks from
# Slurm itself: passing it on would only make the launcher kill them.
forward() {
  interrupted=1
  if [ "$1" != TERM ]; then
    kill -s "$1" "$child" 2>/dev/null
  fi
}
trap 'forward USR1' USR1
trap 'forward TERM' TERM
code=
while :; do
  interrupted=
  wait "$child"
  status=$?
  if [ "$status" -ne 127 ] || [ -z "$code" ]; then
    code=$status
  fi
  if [ -z "$interrupted" ]; then
    break
  fi
done
exit "$code"
