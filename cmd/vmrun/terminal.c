/* The caller's terminal: see terminal.h. */
#include "cmd/vmrun/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

/* Set before the handlers are installed; read by them. */
static int terminal = -1;
static struct termios old, raw;
static volatile sig_atomic_t is_raw;

/* Async-signal-safe, as tcsetattr() is */
void terminal_restore(void)
{
	if (is_raw && tcsetattr(terminal, TCSADRAIN, &old) == 0)
		is_raw = 0;
}

static void set_raw(void)
{
	if (tcsetattr(terminal, TCSADRAIN, &raw) == 0)
		is_raw = 1;
}

static void handle(int number, void (*handler)(int))
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};

	(void)sigemptyset(&sa.sa_mask);
	(void)sigaction(number, &sa, NULL);
}

/* Faults of our own, and what ends a process that has no handler for it */
static void on_deadly(int number)
{
	terminal_restore();
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

/* Stopped from outside: in raw mode ^Z goes to the guest */
static void on_stop(int number)
{
	int saved = errno;
	sigset_t set;

	terminal_restore();
	(void)signal(number, SIG_DFL);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, number);
	(void)raise(number);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* here we stop */
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	handle(number, on_stop);
	errno = saved;
}

static void on_continue(int number)
{
	int saved = errno;

	(void)number;
	if (tcgetpgrp(terminal) == getpgrp())
		set_raw();
	errno = saved;
}

void terminal_raw(int fd)
{
	static const int deadly[] = {SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

	if (terminal >= 0 || !isatty(fd) || tcgetattr(fd, &old) < 0 || tcgetpgrp(fd) != getpgrp())
		return;
	raw = old;
	cfmakeraw(&raw);
	raw.c_oflag = old.c_oflag; /* what else writes there keeps its line ends */
	terminal = fd;
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		handle(deadly[i], on_deadly);
	handle(SIGTSTP, on_stop);
	handle(SIGCONT, on_continue);
	(void)atexit(terminal_restore);
	set_raw();
}
