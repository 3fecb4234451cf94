/* vmrun save: a machine that runs becomes a file. */
#include <stdio.h>
#include <string.h>

#include "cmd/vmrun/vmrun.h"
#include "libcommon/base/outfile.h"
#include "libcommon/runner/control.h"

enum { SAVE_MS = 3600000 /* memory goes to a disk */, END_MS = 60000 };

static struct {
	bool force, keep, compress;
} o;

static const struct opt options[] = {
	{.letter = 'z',
	 .name = "compress",
	 .type = OPT_FLAG,
	 .value = &o.compress,
	 .help = "the memory, by zstd: a smaller file, which restore unpacks instead of mapping "
		 "it"},
	{.letter = 'k',
	 .name = "keep-running",
	 .type = OPT_FLAG,
	 .value = &o.keep,
	 .help = "the machine goes on afterwards; what it writes to its disks from then on makes "
		 "the "
		 "file useless, unless they are ephemeral or read-only"},
	{.name = "force", .type = OPT_FLAG, .value = &o.force, .help = "overwrite FILE"},
	OPT_END,
};

static const char *const examples[] = {
	"vmrun save web web.state && vmrun restore web.state",
	"vmrun save --keep-running --compress ci /var/lib/ci/ready.state",
	NULL,
};

static bool is_running(const char *name, bool *ret, struct err *err)
{
	const char *state;
	json_t *answer;

	if (control_ask(name, CONTROL_INFO, ANSWER_MS, &answer, err) < 0)
		return false;
	state = json_string_value(json_object_get(answer, "state"));
	*ret = state && strcmp(state, "running") == 0;
	json_decref(answer);
	return true;
}

/* As it was before, whatever else comes: also while this process is ended by a signal */
static void go_on(const char *name, bool running)
{
	if (running)
		control_tell(name, CONTROL_RESUME);
}

/* The machine stands still until the file has its name, so nothing is lost on the way. */
static int save(const char *name, struct outfile *out, bool running, struct err *err)
{
	const struct control_request r = {
		.verb = o.compress ? CONTROL_SAVE_COMPRESSED : CONTROL_SAVE, .fd = outfile_fd(out)};
	json_t *answer;
	int pid;

	if (control_ask_with(name, &r, SAVE_MS, &answer, err) < 0) {
		outfile_discard(out);
		go_on(name, running);
		return -1;
	}
	pid = (int)json_integer_value(json_object_get(answer, "pid"));
	json_decref(answer);
	if (outfile_commit(out, err) < 0 || o.keep) {
		go_on(name, running);
		return err->code == ERR_NONE ? 0 : -1;
	}
	if (control_ask(name, CONTROL_KILL, ANSWER_MS, &answer, err) < 0)
		return -1;
	json_decref(answer);
	return control_wait_end(name, pid, END_MS, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct outfile *out;
	bool running;

	(void)cli;
	(void)argc;
	if (!is_running(argv[0], &running, err) ||
	    outfile_open(&out, argv[1], OUTFILE_PRIVATE | (o.force ? OUTFILE_FORCE : 0), err) < 0)
		return -1;
	return save(argv[0], out, running, err);
}

const struct verb verb_save = {
	.name = "save",
	.usage = "[OPTIONS] NAME FILE",
	.summary = "save a machine that runs to a file, from which restore goes on",
	.details =
		"The machine stands still, its disks are flushed, and its memory, processors and "
		"devices go to FILE, which only its owner can read and which has its name when it "
		"is "
		"whole. Then the "
		"machine ends: its vmrun has status 3. When something fails, it goes on.\n\n"
		"Disks are not in the file, but for what was written to ephemeral ones: it tells "
		"where they stand, and restore refuses a disk that was changed since. Of a network "
		"and a vsock the interfaces are saved, not their connections. Of shared folders it "
		"tells which they were and what the guest has open in them; a file that it has "
		"removed and still has open cannot be saved. Nor can a machine that runs a "
		"COMMAND, "
		"or that UEFI started.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 saved, 4 no machine of this name, 5 FILE exists, 6 the machine is starting or "
		"ending, or does not stand still, 7 it does not answer, 9 it cannot be saved, 12 "
		"no "
		"permission, 13 no space",
	.min_args = 2,
	.max_args = 2,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
