/* vmrun pause and resume: a machine's vCPUs stand still, and go on. */
#include <limits.h>

#include "cmd/vmrun/vmrun.h"
#include "libcommon/base/log.h"
#include "libcommon/runner/control.h"

static const struct opt options[] = {OPT_END};

static const char *const pause_examples[] = {
	"vmrun pause web",
	"vmrun ps -0 | xargs -0 vmrun pause",
	NULL,
};

static const char *const resume_examples[] = {
	"vmrun resume web",
	"vmrun pause web && cp --reflink disk.raw copy.raw; vmrun resume web",
	NULL,
};

/* All of them; the first failure is the status */
static int each(enum control_verb verb, int argc, char **argv, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < argc && err->code != ERR_CANCELLED; i++) {
		struct err why = ERR_INIT;
		json_t *answer;

		if (control_ask(argv[i], verb, ANSWER_MS, &answer, &why) == 0) {
			json_decref(answer);
			continue;
		}
		if (rc < 0)
			log_warning("%s: %s", argv[i], why.message);
		else
			*err = why;
		rc = -1;
	}
	return rc;
}

static int run_pause(struct cli *cli, int argc, char **argv, struct err *err)
{
	(void)cli;
	return each(CONTROL_PAUSE, argc, argv, err);
}

static int run_resume(struct cli *cli, int argc, char **argv, struct err *err)
{
	(void)cli;
	return each(CONTROL_RESUME, argc, argv, err);
}

const struct verb verb_pause = {
	.name = "pause",
	.usage = "NAME...",
	.summary = "hold machines: their vCPUs do not run until resume",
	.details =
		"Their memory stays, and a --timeout of theirs runs on. Requests that their disks "
		"had already are still done. Pausing a machine that is paused changes nothing.",
	.options = options,
	.examples = pause_examples,
	.statuses = "0 done, 4 no machine of this name, 6 it is starting or ending, 7 it does not "
		    "answer",
	.min_args = 1,
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_MACHINE,
	.run = run_pause,
};

const struct verb verb_resume = {
	.name = "resume",
	.usage = "NAME...",
	.summary = "have paused machines go on",
	.details =
		"A guest with kvmclock is told that it stood still. Resuming a machine that runs "
		"changes nothing.",
	.options = options,
	.examples = resume_examples,
	.statuses = "0 done, 4 no machine of this name, 6 it is starting or ending, 7 it does not "
		    "answer",
	.min_args = 1,
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_MACHINE,
	.run = run_resume,
};
