/* What a confined process can do no more, and what it still can. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/runner/confine.h"

static bool refused(long rc)
{
	return rc == -1 && errno == EPERM;
}

static const long mounts_and_more[] = {
	SYS_open_tree,	   SYS_move_mount,    SYS_fsopen,
	SYS_fsconfig,	   SYS_fsmount,	      SYS_fspick,
	SYS_mount_setattr, SYS_pidfd_getfd,   SYS_process_madvise,
	SYS_settimeofday,  SYS_clock_settime, SYS_clock_adjtime,
	SYS_adjtimex,	   SYS_sethostname,   SYS_setdomainname,
	SYS_syslog,	   SYS_acct,	      SYS_quotactl,
};

/* Arguments that mean nothing: without the filter the numbers are others, or none */
static bool all_refused(void)
{
	for (size_t i = 0; i < sizeof(mounts_and_more) / sizeof(mounts_and_more[0]); i++)
		if (!refused(syscall(mounts_and_more[i], -1, -1, -1, -1, -1, -1)))
			return false;
	return true;
}

/* Namespaces by clone(); 0 as a child's end would be the fault */
static bool clones_refused(void)
{
	static const long flags[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
				     CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		long pid = syscall(SYS_clone, flags[i] | SIGCHLD, NULL, NULL, NULL, NULL);

		if (pid == 0)
			_exit(0);
		if (!refused(pid))
			return false;
	}
	return syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS;
}

static void *exec_in_thread(void *ctx)
{
	char *const args[] = {(char[]){"true"}, NULL};
	bool *ret = ctx;

	*ret = refused(execve("/bin/true", args, NULL));
	return NULL;
}

/* Return: 0, or the number of the step that was not as it should be */
static int confined(void)
{
	bool thread_refused = false, early_refused = false;
	char *const args[] = {(char[]){"true"}, NULL};
	pthread_t thread;
	int fd;
	void *p;

	confine_process();
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 1;
	if (!refused(execve("/bin/true", args, NULL)))
		return 2;
	if (!refused(syscall(SYS_execveat, AT_FDCWD, "/bin/true", args, NULL, 0)))
		return 3;
	if (!refused(syscall(SYS_unshare, 0)) || !refused(chroot("/")))
		return 4;
	/* EPERM by the filter: without it these fail by other numbers */
	if (!refused(mount("", "", NULL, 0, NULL)) || !refused(syscall(SYS_bpf, -1, NULL, 0)))
		return 5;
	if (!refused(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0)))
		return 6;
	/* x32's numbers are not a way around */
	if (!refused(syscall(0x40000000 | SYS_getpid)))
		return 7;
	/* Calls of the future are left to the kernel */
	if (syscall(4000) != -1 || errno != ENOSYS)
		return 8;
	if (pthread_create(&thread, NULL, exec_in_thread, &thread_refused) ||
	    pthread_join(thread, NULL) || !thread_refused)
		return 9;
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0 || write(fd, "", 1) != 1 || close(fd) < 0)
		return 10;
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || p == MAP_FAILED || munmap(p, 4096) < 0)
		return 11;
	confine_process(); /* twice is no fault */
	(void)exec_in_thread(&early_refused);
	if (!all_refused())
		return 13;
	if (!clones_refused())
		return 14;
	return early_refused ? 0 : 12;
}

static void what_is_given_up(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		_exit(confined());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- files */

static void *open_in_thread(void *ctx)
{
	const char *const *paths =
		ctx; /* allowed to read, to write; not allowed; the last of the three */
	int fd;

	confine_thread();
	fd = open(paths[0], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return (void *)1;
	(void)close(fd);
	fd = open(paths[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return (void *)2;
	(void)close(fd);
	if (open(paths[0], O_RDWR | O_CLOEXEC) >= 0 || errno != EACCES)
		return (void *)3;
	if (open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
		return (void *)4;
	if (open(paths[2], O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
		return (void *)5;
	if (mkdir(paths[2], 0700) == 0 || (errno != EACCES && errno != EEXIST))
		return (void *)6;
	if (unlink(paths[1]) < 0)
		return (void *)7;
	return NULL;
}

/* A thread that serves a guest opens what lies below the folders it was given, and nothing else; the others do as ever. */
static void files_of_threads(void **state)
{
	char top[] = "/tmp/vmkit-confine.XXXXXX", read[64], write[64], file[80], made[80];
	const char *paths[3] = {file, made, top};
	struct confine_folder folders[2] = {{.read_only = true}, {.read_only = false}};
	void *failed = NULL;
	pthread_t thread;
	int fd;

	(void)state;
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1)
		skip();
	assert_non_null(mkdtemp(top));
	(void)snprintf(read, sizeof(read), "%s/read", top);
	(void)snprintf(write, sizeof(write), "%s/write", top);
	(void)snprintf(file, sizeof(file), "%s/file", read);
	(void)snprintf(made, sizeof(made), "%s/made", write);
	assert_int_equal(mkdir(read, 0700), 0);
	assert_int_equal(mkdir(write, 0700), 0);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && close(fd) == 0);
	folders[0].fd = open(read, O_PATH | O_CLOEXEC);
	folders[1].fd = open(write, O_PATH | O_CLOEXEC);
	confine_files(folders, 2);
	assert_int_equal(pthread_create(&thread, NULL, open_in_thread, paths), 0);
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && close(fd) == 0);
	(void)close(folders[0].fd);
	(void)close(folders[1].fd);
	assert_true(unlink(file) == 0 && rmdir(read) == 0 && rmdir(write) == 0 && rmdir(top) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_given_up),
					   cmocka_unit_test(files_of_threads)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
