/* The memory of a running machine, kept with a snapshot of its disks, and started from. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "cmd/vmsnap/domain.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/base/stop.h"
#include "libcommon/host/migrate.h"

/* Shows how far it is, and gives it up when we are told to stop: the call itself hears of nothing */
struct watch {
	struct domain *domain;
	struct progress *progress;
	atomic_bool end;
};

static void *watch(void *arg)
{
	static const struct timespec pause = {.tv_nsec = 100000000};
	struct watch *w = arg;
	struct migration_state s;
	bool cancelled = false;

	while (!atomic_load(&w->end)) {
		(void)nanosleep(&pause, NULL);
		if (stop_requested() && !cancelled)
			cancelled = domain_migrate_cancel(w->domain, NULL) == 0;
		if (w->progress && domain_migrate_state(w->domain, false, &s, NULL) == 0) {
			atomic_store(&w->progress->what, "memory");
			atomic_store(&w->progress->total, s.total);
			atomic_store(&w->progress->done, s.done);
		}
	}
	return NULL;
}

/* Of a file that libvirt wrote, as root perhaps */
static void sync_file(const char *path)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)fsync(fd);
}

int live_memory_fits(struct disk_set *t, const char *path, struct err *err)
{
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
	struct domain_info info;
	struct statvfs fs;
	uint64_t have, need;

	if (domain_info(t->domain, &info, err) < 0)
		return -1;
	need = info.memory;
	domain_info_release(&info);
	if (statvfs(path, &fs) < 0)
		return err_sys(err, "cannot ask for free space of %s", path);
	have = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (need <= have)
		return 0;
	err_set(err, ERR_NO_SPACE, "its memory may need %s, and the file system of %s has %s free",
		size_format(need, a), path, size_format(have, b));
	return err_object(err, domain_name(t->domain));
}

int live_overlay(struct disk_set *t, char *const *overlays, const char *file,
		 struct progress *progress, struct err *err)
{
	struct watch w = {.domain = t->domain, .progress = progress};
	pthread_t thread;
	int rc;

	if (!file)
		return domain_overlay(t->domain, t->disks, (const char *const *)overlays, t->n,
				      NULL, err);
	if (pthread_create(&thread, NULL, watch, &w) != 0)
		return err_set(err, ERR_FAILED, "cannot start a thread");
	rc = domain_overlay(t->domain, t->disks, (const char *const *)overlays, t->n, file, err);
	atomic_store(&w.end, true);
	(void)pthread_join(thread, NULL);
	if (rc == 0)
		sync_file(file);
	return rc < 0 && stop_requested() ? stop_check(err) : rc;
}

int live_restore_xml(struct disk_set *t, struct snap_disk *const *disks, const char *name,
		     char **ret_file, char **ret_xml, struct err *err)
{
	CLEANUP_FREE char *file = NULL;

	*ret_file = *ret_xml = NULL;
	for (size_t i = 0; t->domain && i < t->n && !file; i++) {
		struct snap_entry *e;

		if (snap_find(disks[i], name, &e, err) < 0)
			return -1;
		file = steal_ptr(&e->memory);
		snap_list_free(e, 1);
	}
	if (!file)
		return 0;
	if (domain_can_hold(t->domain)) {
		if (domain_check_memory(t->domain, file, err) < 0)
			return -1;
	} else if (host_saved_xml(t->host, file, t->disks, t->paths, t->n, ret_xml, err) < 0)
		return -1;
	*ret_file = steal_ptr(&file);
	return 0;
}
