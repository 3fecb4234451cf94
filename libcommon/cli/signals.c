/* Signals: the first SIGINT, SIGTERM or SIGHUP asks every loop to end, the second ends the process at once. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libcommon/base/outfile.h"
#include "libcommon/base/stop.h"
#include "libcommon/cli/internal.h"

/* Written by signals_usr1_fd() before its handler is installed; read by the handler. */
static atomic_int usr1_fd = -1;

/* Async-signal-safe, as all that it calls. */
static void __attribute__((noreturn)) die(int number)
{
	sigset_t set;

	(void)signal(number, SIG_DFL);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, number);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(number);
	_exit(128 + number);
}

static void on_stop(int number)
{
	int saved = errno;

	if (stop_requested()) {
		outfile_remove_all_from_signal();
		die(number);
	}
	stop_request(number);
	errno = saved;
}

static void on_usr1(int number)
{
	int saved = errno;
	uint64_t one = 1;

	(void)number;
	if (write(atomic_load(&usr1_fd), &one, sizeof(one)) < 0) {
		/* The counter is full: the reader knows already. */
	}
	errno = saved;
}

static void handle(int number, void (*handler)(int), int flags)
{
	struct sigaction now, sa = {.sa_handler = handler, .sa_flags = flags};

	/* nohup, or a shell without job control: what was ignored stays so. */
	if (handler == on_stop && sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
		return;
	(void)sigemptyset(&sa.sa_mask);
	(void)sigaction(number, &sa, NULL);
}

void signals_install(void)
{
	/* No SA_RESTART: a read from a terminal or a pipe returns, so that the caller can ask stop_requested(). */
	handle(SIGINT, on_stop, 0);
	handle(SIGTERM, on_stop, 0);
	handle(SIGHUP, on_stop, 0);
	/* A reader that went away and a limit on file sizes are errors of write(), told as such. */
	handle(SIGPIPE, SIG_IGN, 0);
	handle(SIGXFSZ, SIG_IGN, 0);
	/* Verbs without progress have nothing to print; the default would kill them. */
	handle(SIGUSR1, SIG_IGN, 0);
}

int signals_usr1_fd(void)
{
	int fd = atomic_load(&usr1_fd);

	if (fd >= 0)
		return fd;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -1;
	atomic_store(&usr1_fd, fd);
	handle(SIGUSR1, on_usr1, SA_RESTART);
	return fd;
}

void signals_die(int number)
{
	die(number);
}
