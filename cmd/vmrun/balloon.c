/* vmrun balloon: take memory from a guest that runs, or give it back. */
#include <inttypes.h>
#include <time.h>

#include "cmd/vmrun/vmrun.h"
#include "libcommon/base/size.h"
#include "libcommon/base/stop.h"
#include "libcommon/runner/control.h"

enum { ASK_AGAIN_MS = 100 };

static struct {
	uint64_t wait;
} o;

static const struct opt options[] = {
	{.name = "wait",
	 .type = OPT_DURATION,
	 .value = &o.wait,
	 .arg = "TIME",
	 .help = "until the guest has done it: status 10 when it has not by then (default: do not "
		 "wait)"},
	OPT_END,
};

static const char *const examples[] = {
	"vmrun balloon web 256M",
	"vmrun balloon --wait 30s web 128M && vmrun stats web",
	NULL,
};

static uint64_t number(const json_t *answer, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(answer, key));

	return v < 0 ? 0 : (uint64_t)v;
}

static int ask(const char *name, enum control_verb verb, uint64_t bytes, json_t **ret,
	       struct err *err)
{
	const struct control_request r = {.verb = verb, .fd = -1, .bytes = bytes};

	return control_ask_with(name, &r, ANSWER_MS, ret, err);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* An answer takes up to a second, when the guest is busy */
static int wait_done(const char *name, uint64_t bytes, struct err *err)
{
	uint64_t deadline = now_ms() + o.wait, actual;
	json_t *answer;

	do {
		if (ask(name, CONTROL_STATS, 0, &answer, err) < 0)
			return -1;
		actual = number(json_object_get(answer, "balloon"), "actual");
		json_decref(answer);
		if (actual == bytes)
			return 0;
		if (stop_requested())
			return stop_check(err);
		(void)nanosleep(&(struct timespec){.tv_nsec = ASK_AGAIN_MS * 1000000}, NULL);
	} while (now_ms() < deadline);
	err_set(err, ERR_TIMEOUT, "it has given up %" PRIu64 " bytes so far, not %" PRIu64, actual,
		bytes);
	return err_object(err, name);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const char *name = argv[0];
	uint64_t keep, memory;
	json_t *answer;

	(void)cli;
	(void)argc;
	if (size_parse(argv[1], &keep, err) < 0)
		return -1;
	if (ask(name, CONTROL_INFO, 0, &answer, err) < 0)
		return -1;
	memory = number(answer, "memory");
	json_decref(answer);
	if (!keep || keep > memory || keep % 4096) {
		err_set(err, ERR_USAGE,
			"%s is no size for it: whole pages of 4 KiB, at most its %" PRIu64 " bytes",
			argv[1], memory);
		return err_object(err, name);
	}
	if (ask(name, CONTROL_BALLOON, memory - keep, &answer, err) < 0)
		return -1;
	json_decref(answer);
	return o.wait ? wait_done(name, memory - keep, err) : 0;
}

const struct verb verb_balloon = {
	.name = "balloon",
	.usage = "[OPTIONS] NAME SIZE",
	.summary = "leave a guest SIZE of its memory; the rest goes to the host until it is given "
		   "back",
	.details =
		"SIZE is what the guest has then, at most what it was started with, which gives "
		"all "
		"back. The guest gives up what it can when it can, and takes some back before it "
		"kills a process for want of memory. The machine must have been started with "
		"--balloon, and the guest needs virtio_balloon.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 asked for, and with --wait done, 2 no size for this machine, 4 no machine of "
		"this name, 6 it is starting or ending, 7 it does not answer, 9 it has no "
		"balloon, 10 --wait ran out",
	.min_args = 2,
	.max_args = 2,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
