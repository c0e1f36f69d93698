# Sourced: waits for the child $child of this shell to end, and sets `code` to its exit code. A trapped signal cuts
# `wait` short; a trap sets `interrupted`, and then this waits again. 127 says that a child has been waited for
# already. (slurm/sweep.sbatch, which Slurm copies away from here, has its own.)
await() {
  local status
  code=
  while :; do
    interrupted=
    wait "$child" 2>/dev/null # without the shell's own word on how it died
    status=$?
    if [ "$status" -ne 127 ] || [ -z "$code" ]; then
      code=$status
    fi
    if [ -z "$interrupted" ]; then
      break
    fi
  done
}
