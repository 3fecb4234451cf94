/* vmctl detach: a disk or a network interface less, once the guest has let go of it. */
#include <string.h>
#include <time.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/host/device.h"
#include "libcommon/host/xmldoc.h"

enum { TIMEOUT_MS = 30000, POLL_MS = 100, AGAIN_MS = 5000 };

static struct {
	bool live, config;
	uint64_t timeout;
} o = {.timeout = TIMEOUT_MS};

static const struct opt options[] = {
	{.letter = 't',
	 .name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.timeout,
	 .arg = "TIME",
	 .help = "how long the guest may take to let go (default: 30s)"},
	{.name = "live", .type = OPT_FLAG, .value = &o.live, .help = "the running machine only"},
	{.name = "config", .type = OPT_FLAG, .value = &o.config, .help = "the next start only"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl detach web vdb",
	"vmctl detach web 52:54:00:12:34:56 --timeout 1m",
	NULL,
};

/* The device as the machine has it; NULL: it has none. Owned. */
static int find_device(struct domain *d, const char *what, bool config, char **ret, struct err *err)
{
	static const char *const paths[][2] = {{"/domain/devices/disk", "target/@dev"},
					       {"/domain/devices/interface", "mac/@address"}};
	CLEANUP_FREE char *xml = NULL;
	struct xmldoc *x;

	*ret = NULL;
	if (domain_xml(d, config ? DOMAIN_XML_CONFIG : 0, &xml, err) < 0 ||
	    xmldoc_parse(&x, xml, "domain", err) < 0)
		return -1;
	for (size_t p = 0; p < 2 && !*ret; p++) {
		size_t n = xmldoc_count(x, paths[p][0]);

		for (size_t i = 0; i < n && !*ret; i++) {
			CLEANUP_FREE char *name = xmldoc_get_nth(x, paths[p][0], i, paths[p][1]);

			if (name && strcasecmp(name, what) == 0)
				*ret = xmldoc_node_nth(x, paths[p][0], i);
		}
	}
	xmldoc_free(x);
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A guest that is still booting does not hear the request: it is repeated. */
static int wait_gone(struct domain *d, const char *what, const char *xml, struct err *err)
{
	static const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
	uint64_t start = now_ms(), asked = start;

	for (;;) {
		CLEANUP_FREE char *there = NULL;
		struct err ignored = ERR_INIT;

		if (find_device(d, what, false, &there, err) < 0)
			return -1;
		if (!there)
			return 0;
		if (stop_check(err) < 0)
			return -1;
		if (now_ms() - start >= o.timeout) {
			err_set(err, ERR_TIMEOUT, "the guest has not let go of %s within %.3g s",
				what, (double)o.timeout / 1000);
			return err_hint(err, "it may still do so: the request stands");
		}
		if (now_ms() - asked >= AGAIN_MS) {
			asked = now_ms();
			(void)domain_detach(d, xml, DOMAIN_LIVE, &ignored);
		}
		(void)nanosleep(&pause, NULL);
	}
}

static int run_on(struct domain *d, const char *what, struct err *err)
{
	CLEANUP_FREE char *live = NULL, *config = NULL;
	unsigned where;

	if (vmctl_where(d, o.live, o.config, &where, err) < 0 ||
	    ((where & DOMAIN_LIVE) && find_device(d, what, false, &live, err) < 0) ||
	    ((where & DOMAIN_CONFIG) && find_device(d, what, true, &config, err) < 0))
		return -1;
	if (!live && !config) {
		err_set(err, ERR_NOT_FOUND, "has no disk or interface %s", what);
		return err_hint(err, "vmctl info shows them");
	}
	if (live &&
	    (domain_detach(d, live, DOMAIN_LIVE, err) < 0 || wait_gone(d, what, live, err) < 0))
		return -1;
	return config ? domain_detach(d, config, DOMAIN_CONFIG, err) : 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct host *h;
	struct domain *d;
	int rc;

	(void)cli;
	(void)argc;
	if (vmctl_find(argv[0], false, &h, &d, err) < 0)
		return -1;
	rc = run_on(d, argv[1], err);
	if (rc < 0)
		err_object(err, argv[0]);
	domain_close(d);
	host_close(h);
	return rc;
}

const struct verb verb_detach = {
	.name = "detach",
	.usage = "[OPTIONS] NAME DISK|MAC",
	.summary = "take a disk or a network interface from a machine",
	.details = "A disk is named by its place (vdb), an interface by its MAC address. A guest "
		   "that runs must let go of it: that is waited for, and only then it is gone from "
		   "the next start too. The image file is left alone.",
	.options = options,
	.examples = examples,
	.statuses = "0 gone, 1 refused by the host, 4 no such machine or device, 6 a job is under "
		    "way, 7 no connection, 10 the guest did not let go in time",
	.min_args = 2,
	.max_args = 2,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
