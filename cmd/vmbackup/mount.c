/* vmbackup mount: the disks of snapshots as files, with nothing restored. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/vmbackup/mount_fuse.h"
#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"

static const struct opt options[] = {OPT_END};

static const char *const examples[] = {
	"vmbackup -r /backup/vms mount /mnt",
	"vmbackup -r /backup/vms mount web@latest:vda /mnt -- qemu-img compare disk.qcow2 "
	"/mnt/web/latest/vda.raw",
	NULL,
};

/* How often a signal is looked for that another thread took; others wake poll() up. */
enum { LOOK_MS = 500 };

static int cannot_open(const char *dir, struct err *err)
{
	err_sys(err, "cannot open");
	if (errno == ENOTCONN)
		err_hint(err, "a killed mount was left there: fusermount3 -u %s", dir);
	return err_object(err, dir);
}

static int check_empty(const char *dir, struct err *err)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	bool empty = true;

	if (!d)
		return cannot_open(dir, err);
	while (empty && (e = readdir(d)))
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	(void)closedir(d);
	if (empty)
		return 0;
	err_set(err, ERR_EXISTS, "is not empty");
	return err_object(err, dir);
}

/* The threads are libfuse's and ours: only what a signal handler may do is done before exec. */
static void __attribute__((noreturn)) be_command(char *const *argv, int report)
{
	sigset_t none;
	int why;

	(void)sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)signal(SIGUSR1, SIG_DFL);
	(void)execvp(argv[0], argv);
	why = errno;
	if (write(report, &why, sizeof(why)) < 0) {
		/* then the status alone tells */
	}
	_exit(127);
}

/* *@ret_status is 127 as a shell's when there is no such command. */
static int start(char *const *argv, pid_t *ret, int *ret_status, struct err *err)
{
	int fds[2], why = 0;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(err, "cannot make a pipe");
	*ret = fork();
	if (*ret == 0)
		be_command(argv, fds[1]);
	(void)close(fds[1]);
	if (*ret < 0) {
		(void)close(fds[0]);
		return err_sys(err, "cannot start %s", argv[0]);
	}
	while ((n = read(fds[0], &why, sizeof(why))) < 0 && errno == EINTR)
		;
	(void)close(fds[0]);
	if (n != sizeof(why))
		return 0;
	(void)waitpid(*ret, NULL, 0);
	*ret_status = why == ENOENT ? 127 : 126;
	errno = why;
	return err_sys(err, "cannot run %s", argv[0]);
}

/* Until the command has ended; without one (@pid 0) until a signal, or until the mount is gone. */
static int wait_for_end(int gone, pid_t pid)
{
	int pidfd = pid ? pidfd_open(pid, 0) : -1, status = 0;
	struct pollfd p = {.fd = pid ? pidfd : gone, .events = POLLIN};
	bool told = false;

	for (;;) {
		if (pid && waitpid(pid, &status, WNOHANG) > 0)
			break;
		if (!pid && (stop_requested() || p.revents))
			break;
		if (stop_requested() && !told) {
			(void)kill(pid, stop_signal());
			told = true;
		}
		(void)poll(&p, 1, pid && pidfd < 0 ? 20 : LOOK_MS);
	}
	if (pidfd >= 0)
		(void)close(pidfd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int serve(struct cli *cli, struct repo *repo, const struct mount_tree *tree, const char *dir,
		 char *const *command, struct err *err)
{
	struct mount_fs *fs;
	pid_t pid = 0;
	int rc = 0;

	if (mount_fs_start(&fs, repo, tree, dir, err) < 0)
		return -1;
	if (command)
		rc = start(command, &pid, &cli->failure_status, err);
	if (rc == 0)
		cli->status = wait_for_end(mount_fs_gone(fs), pid);
	mount_fs_stop(fs);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	int n = cli->before_dashes > 0 ? cli->before_dashes : argc;
	const char *spec = n == 2 ? argv[0] : NULL;
	struct mount_tree tree;
	struct repo *repo;
	int rc;

	if (n < 1 || n > 2)
		return err_set(err, ERR_USAGE, "mount takes a name, or none, and a folder");

	CLEANUP_FREE char *dir = realpath(argv[n - 1], NULL); /* a command may go elsewhere */

	if (!dir)
		return cannot_open(argv[n - 1], err);
	if (check_empty(dir, err) < 0 || mount_fs_check(err) < 0 || vmbackup_open(&repo, err) < 0)
		return -1;
	rc = mount_tree_make(&tree, repo, spec, err);
	if (rc == 0) {
		rc = serve(cli, repo, &tree, dir, argc > n ? argv + n : NULL, err);
		mount_tree_free(&tree);
	}
	repo_close(repo);
	return rc;
}

const struct verb verb_mount = {
	.name = "mount",
	.usage = "[OPTIONS] [NAME[@WHEN[:DISK]]] DIR [-- COMMAND [ARGUMENT]...]",
	.summary = "disks of snapshots as raw files in a folder, with nothing restored (FUSE)",
	.details =
		"DIR, which must be empty, shows NAME/ID/DISK.raw, a file that can only be read, "
		"for each "
		"disk of each snapshot, and NAME/latest, a link to the newest one that is shown. "
		"NAME alone shows all snapshots of that machine, NAME@WHEN one, NAME@WHEN:DISK one "
		"disk of it. Files have the size of the disk and the time of the snapshot. What is "
		"damaged reads as an error, with a sentence on standard error. Snapshots made "
		"later "
		"do not appear, and only the user who mounted it can look.\n"
		"It is mounted until a signal, or fusermount3 -u DIR, ends it. With COMMAND it is "
		"mounted until the command ends: its status is the verb's. libfuse3 does the work.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 ended as asked, 2 usage, 4 no such folder, snapshot or disk, 5 the folder is "
		"not "
		"empty, 8 damaged, 9 no /dev/fuse, no libfuse3 or not allowed to mount, 12 wrong "
		"passphrase; with COMMAND its status, 127 when there is no such command",
	.min_args = 1,
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_SNAPSHOT,
	.run = run,
};
