/* Errors and warnings on standard error: one line for people, one JSON object a line with --json. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/log.h"
#include "libcommon/cli/internal.h"

/* Set once by main before threads start. */
static struct {
	const char *program;
	bool json, quiet;
} report;

static void print_json(json_t *line)
{
	char *text = line ? json_dumps(line, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

	if (text)
		(void)fprintf(stderr, "%s\n", text);
	free(text);
	json_decref(line);
}

/* From any thread; one fprintf a message, so lines are never mixed. */
static void sink(enum log_level level, const char *message)
{
	char *text = cli_printable(message);

	if (!text)
		return;
	progress_pause();
	if (report.json)
		print_json(json_pack("{s:{s:o}}", level == LOG_WARNING ? "warning" : "note",
				     "message", cli_json_string(message)));
	else
		(void)fprintf(stderr, "%s: %s%s\n", report.program,
			      level == LOG_WARNING ? "warning: " : "", text);
	progress_resume();
	free(text);
}

void report_setup(const char *program, bool json, bool quiet, unsigned verbose)
{
	report.program = program;
	report.json = json;
	report.quiet = quiet;
	log_set_sink(quiet ? NULL : sink, verbose > 2 ? LOG_DEBUG : (enum log_level)verbose);
}

bool report_is_json(void)
{
	return report.json;
}

static void error_json(const struct err *err)
{
	json_t *e = json_pack("{s:i, s:s, s:o}", "status", err_status(err->code), "code",
			      err_code_name(err->code), "message", cli_json_string(err->message));

	if (e && err->object[0])
		(void)json_object_set_new(e, "object", cli_json_string(err->object));
	if (e && err->hint[0])
		(void)json_object_set_new(e, "hint", cli_json_string(err->hint));
	print_json(json_pack("{s:o}", "error", e));
}

void report_error(const struct err *err)
{
	if (report.json) {
		error_json(err);
		return;
	}

	char *object = cli_printable(err->object), *message = cli_printable(err->message);
	char *hint = cli_printable(err->hint);

	if (object && message)
		(void)fprintf(stderr, "%s: %s%s%s\n", report.program, object, *object ? ": " : "",
			      message);
	if (hint && *hint)
		(void)fprintf(stderr, "hint: %s\n", hint);
	free(object);
	free(message);
	free(hint);
}
