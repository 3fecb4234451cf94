/* What this process gives up before a guest runs: what a machine never needs, and who breaks out of one would want. */
#ifndef VMKIT_RUNNER_CONFINE_H
#define VMKIT_RUNNER_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

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

/** struct confine_folder - one below which a thread of the guest may open files */
struct confine_folder {
	int fd; /* borrowed */
	bool read_only;
};

/**
 * confine_files() - threads that call confine_thread() after this open no file but below @folders (Landlock, confine_files.c)
 *
 * What is open stays so. Of the whole process; called before such threads start. A kernel without Landlock goes on without,
 * with a warning.
 */
void confine_files(const struct confine_folder *folders, size_t n);

/** confine_thread() - this thread, and those that it starts, for good; nothing without confine_files() */
void confine_thread(void);

#endif
