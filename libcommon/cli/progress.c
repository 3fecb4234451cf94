/* Progress on standard error: a bar six times a second, or one JSON line a second; a line at SIGUSR1.
 *
 * A thread reads the two counters that the workers raise. It is started for verbs with .progress only, so that
 * short verbs pay nothing. The lock orders its lines with those of report.c.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/size.h"
#include "libcommon/cli/internal.h"

enum { BAR_MS = 166, JSON_MS = 1000, AUTO_AFTER_MS = 700, BAR_WIDTH = 24 };

static struct {
	struct progress *source;
	const char *program;
	enum progress_mode mode;
	pthread_t thread;
	int stop_fd;
	bool running;
	/* guarded by lock, as all below */
	bool drawn; /* the bar stands on the current line */
	double begin, last_time, rate;
	uint64_t last_done;
	const char *what;
} d = {.stop_fd = -1};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t bar(unsigned width, double part, char *buf, size_t len)
{
	size_t full = (size_t)(part * width), n = 0;

	if (width == 0 || len < width + 4)
		return 0;
	buf[n++] = '[';
	for (size_t i = 0; i < width; i++)
		buf[n++] = i < full ? '=' : i == full ? '>' : ' ';
	buf[n++] = ']';
	buf[n++] = ' ';
	buf[n] = '\0';
	return n;
}

void progress_text(const char *what, uint64_t done, uint64_t total, double seconds, double rate,
		   unsigned width, char *buf, size_t len)
{
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], r[SIZE_TEXT_MAX], t[SIZE_TEXT_MAX];
	double part = total ? (double)done / (double)total : 0;
	size_t n = (size_t)snprintf(buf, len, "%s  ", what);

	if (part > 1)
		part = 1;
	if (n >= len)
		return;
	size_format(rate > 0 ? (uint64_t)rate : 0, r);
	if (!total) {
		(void)snprintf(buf + n, len - n, "%s  %s/s  %s", size_format(done, a), r,
			       duration_format(seconds, t));
		return;
	}
	n += bar(width, part, buf + n, len - n);
	n += (size_t)snprintf(buf + n, len - n, "%3u %%  %s of %s  %s/s", (unsigned)(part * 100),
			      size_format(done, a), size_format(total, b), r);
	if (n < len && rate > 0 && done < total)
		(void)snprintf(buf + n, len - n, "  %s left",
			       duration_format((double)(total - done) / rate, t));
}

/* Smoothed over about three seconds, so that holes do not make it jump. */
static double measure(uint64_t done, double time)
{
	double span = time - d.last_time;

	if (span < 0.05)
		return d.rate;

	double current = done > d.last_done ? (double)(done - d.last_done) / span : 0;
	double weight = span / (span + 3);

	d.rate = d.rate > 0 ? d.rate + (current - d.rate) * weight : current;
	d.last_time = time;
	d.last_done = done;
	return d.rate;
}

static unsigned terminal_columns(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

static void write_text(const char *text, size_t len)
{
	if (write(STDERR_FILENO, text, len) < 0) {
		/* Nobody sees it: no reason to fail. */
	}
}

static void print_json(const char *what, uint64_t done, uint64_t total, double seconds, double rate)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "{\"progress\":{\"what\":\"%s\",\"done_bytes\":%llu,\"total_bytes\":%llu,"
			 "\"rate_bytes_per_second\":%llu,\"elapsed_seconds\":%.1f}}\n",
			 what, (unsigned long long)done, (unsigned long long)total,
			 (unsigned long long)rate, seconds);

	if (n > 0 && (size_t)n < sizeof(text))
		write_text(text, (size_t)n);
}

/* Called with the lock held. @line: a line of its own for SIGUSR1, not a redrawn bar. */
static void draw(bool line)
{
	const char *what = atomic_load(&d.source->what);
	uint64_t done = atomic_load(&d.source->done), total = atomic_load(&d.source->total);
	double time = now(), seconds = time - d.begin, rate;
	unsigned columns = terminal_columns();
	char text[512], out[600];

	if (what && d.what && what != d.what) { /* a new stage begins at 0 */
		d.begin = d.last_time = time;
		d.last_done = 0;
		d.rate = seconds = 0;
	}
	if (what)
		d.what = what;
	rate = measure(done, time);
	if (!what && !line)
		return;
	if (d.mode == PROGRESS_JSON) {
		print_json(what ? what : "start", done, total, seconds, rate);
		return;
	}
	progress_text(what ? what : "start", done, total, seconds, rate,
		      line	     ? 0
		      : columns > 90 ? BAR_WIDTH
		      : columns > 78 ? BAR_WIDTH / 2
				     : 0,
		      text, sizeof(text));
	if (!line && strlen(text) >= columns)
		text[columns - 1] = '\0';

	int n = line ? snprintf(out, sizeof(out), "%s%s: %s\n", d.drawn ? "\r\033[K" : "",
				d.program, text)
		     : snprintf(out, sizeof(out), "\r\033[K%s", text);

	d.drawn = !line;
	write_text(out, (size_t)n < sizeof(out) ? (size_t)n : sizeof(out) - 1);
}

static int period(void)
{
	switch (d.mode) {
	case PROGRESS_BAR:
	case PROGRESS_AUTO:
		return BAR_MS;
	case PROGRESS_JSON:
		return JSON_MS;
	case PROGRESS_NONE:
		break;
	}
	return -1;
}

static void *progress_thread(void *arg)
{
	struct pollfd fds[2] = {{.fd = d.stop_fd, .events = POLLIN},
				{.fd = signals_usr1_fd(), .events = POLLIN}};
	double started = d.begin;

	(void)arg;
	for (;;) {
		int n = poll(fds, 2, period());
		uint64_t count;

		if (n < 0 && errno != EINTR)
			break;
		if (n > 0 && fds[0].revents)
			break;

		bool asked = n > 0 && (fds[1].revents & POLLIN) &&
			     read(fds[1].fd, &count, sizeof(count)) > 0;

		pthread_mutex_lock(&lock);
		if (asked)
			draw(true);
		else if (n == 0 &&
			 (d.mode != PROGRESS_AUTO || (now() - started) * 1000 >= AUTO_AFTER_MS))
			draw(false);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

int progress_start(struct progress *p, enum progress_mode mode, const char *program)
{
	sigset_t all, old;

	if (d.running)
		return -1;
	d.source = p;
	d.program = program;
	d.mode = mode;
	d.begin = d.last_time = now();
	d.last_done = 0;
	d.rate = 0;
	d.what = NULL;
	d.stop_fd = eventfd(0, EFD_CLOEXEC);
	if (d.stop_fd < 0)
		return -1;
	(void)signals_usr1_fd();
	/* Signals belong to the main thread: its blocked read must be the one that returns. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	d.running = pthread_create(&d.thread, NULL, progress_thread, NULL) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!d.running) {
		(void)close(d.stop_fd);
		d.stop_fd = -1;
	}
	return d.running ? 0 : -1;
}

void progress_stop(bool done)
{
	uint64_t one = 1;

	if (!d.running)
		return;
	while (write(d.stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(d.thread, NULL);
	d.running = false;
	(void)close(d.stop_fd);
	d.stop_fd = -1;
	/* A bar that was asked for stays; one that came by itself goes. The last JSON line is always written. */
	if (d.mode == PROGRESS_JSON || (d.mode == PROGRESS_BAR && done))
		draw(false);
	if (d.drawn)
		write_text(d.mode == PROGRESS_BAR ? "\n" : "\r\033[K",
			   d.mode == PROGRESS_BAR ? 1 : 4);
	d.drawn = false;
}

void progress_pause(void)
{
	pthread_mutex_lock(&lock);
	if (d.drawn)
		write_text("\r\033[K", 4);
	d.drawn = false;
}

void progress_resume(void)
{
	pthread_mutex_unlock(&lock);
}
