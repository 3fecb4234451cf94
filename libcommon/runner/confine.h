/* What this process gives up before a guest runs: what a machine never needs, and who breaks out of one would want. */
#ifndef VMKIT_RUNNER_CONFINE_H
#define VMKIT_RUNNER_CONFINE_H

/**
 * confine_process() - all threads there are and will be: no new privileges by exec (no_new_privs), and system calls that
 * start programs, look into other processes, change kernel, clock, mounts or namespaces fail with EPERM (seccomp), and
 * clone3(), whose flags a filter cannot see, with ENOSYS
 *
 * All other calls, also those that are not known yet, stay as they are: a C library or kernel of another age is not broken
 * by it. There is no way back. A host that cannot do it goes on without, with
 * a warning.
 */
void confine_process(void);

#endif
