/* Guest memory: see memory.h. */
#include "libcommon/runner/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/size.h"

/* Guest and host addresses agree below this, or no huge page of the host's, of either kind, could lie behind one of the
 * guest's. */
#define HUGE_PAGE  UINT64_C(0x200000)
#define MAP_HUGE_2 (21 << MAP_HUGE_SHIFT)
#define POOL	   "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static int host_memory_check(uint64_t size, struct err *err)
{
	char want[SIZE_TEXT_MAX], have[SIZE_TEXT_MAX];
	struct sysinfo si;
	uint64_t total;

	if (sysinfo(&si) < 0 || !u64_mul((uint64_t)si.totalram + si.totalswap, si.mem_unit, &total))
		return 0;
	if (size <= total)
		return 0;
	return err_set(err, ERR_UNSUPPORTED, "%s of guest memory are more than this host has (%s)",
		       size_format(size, want), size_format(total, have));
}

/* Return: a number of the pool's, 0 when it has none */
static uint64_t of_pool(const char *name)
{
	char path[sizeof(POOL) + 32], text[32] = "";
	int fd;

	(void)snprintf(path, sizeof(path), POOL "%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	(void)close(fd);
	return strtoull(text, NULL, 10);
}

static int no_huge_pages(uint64_t size, struct err *err)
{
	char want[SIZE_TEXT_MAX], have[SIZE_TEXT_MAX];
	uint64_t unused = of_pool("free_hugepages"), promised = of_pool("resv_hugepages");

	if (errno != ENOMEM && errno != EDQUOT)
		return err_set(err, ERR_UNSUPPORTED, "this host has no huge pages of 2 MiB: %s",
			       strerror(errno));
	unused -= min_u64(unused, promised);
	if (errno == EDQUOT || unused >= div_up(size, HUGE_PAGE))
		return err_set(err, ERR_UNSUPPORTED,
			       "%s of huge pages are wanted, and a limit (of a control group, most "
			       "likely) keeps this process from them",
			       size_format(size, want));
	err_set(err, ERR_UNSUPPORTED,
		"%s of huge pages are wanted, this host's pool has %s that are free",
		size_format(size, want), size_format(unused * HUGE_PAGE, have));
	return err_hint(err, "root makes it larger: sysctl vm.nr_hugepages=%" PRIu64,
			of_pool("nr_hugepages") + div_up(size, HUGE_PAGE) - unused);
}

/* Return: false with errno */
static bool add_huge_region(struct guest_memory *m, uint64_t start, uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2, -1, 0);

	if (p == MAP_FAILED)
		return false;
	/* A control group's limit is only met when a page is taken, by SIGBUS in the middle of a run. EINVAL: Linux before 5.14 */
	if (madvise(p, size, MADV_POPULATE_WRITE) < 0 && errno != EINVAL) {
		int error = errno;

		(void)munmap(p, size);
		errno = error == EFAULT || error == EHWPOISON ? EDQUOT : error;
		return false;
	}
	m->region[m->regions++] = (struct guest_region){start, size, p, false};
	return true;
}

static int add_region(struct guest_memory *m, uint64_t start, uint64_t size, struct err *err)
{
	char text[SIZE_TEXT_MAX];
	uint64_t before, room = size + HUGE_PAGE;
	uint8_t *p = mmap(NULL, room, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return err_sys(err, "no %s of guest memory", size_format(size, text));
	before = round_up((uintptr_t)p, HUGE_PAGE) - (uintptr_t)p;
	if (before)
		(void)munmap(p, before);
	(void)munmap(p + before + size, HUGE_PAGE - before);
	m->region[m->regions++] = (struct guest_region){start, size, p + before, false};
	return 0;
}

int guest_memory_create(struct guest_memory *m, uint64_t size, struct err *err)
{
	uint64_t low = min_u64(size, GUEST_HOLE_START);

	memset(m, 0, sizeof(*m));
	if (size < GUEST_MEMORY_MIN || size % 4096)
		return err_set(err, ERR_USAGE,
			       "guest memory of %" PRIu64
			       " bytes: at least 2 MiB and whole pages of 4 KiB are wanted",
			       size);
	if (host_memory_check(size, err) < 0 || add_region(m, 0, low, err) < 0)
		return -1;
	if (size > low && add_region(m, GUEST_HOLE_END, size - low, err) < 0) {
		guest_memory_destroy(m);
		return -1;
	}
	return 0;
}

int guest_memory_create_huge(struct guest_memory *m, uint64_t size, struct err *err)
{
	uint64_t low = min_u64(size, GUEST_HOLE_START);
	int error;

	memset(m, 0, sizeof(*m));
	if (!size || size % HUGE_PAGE)
		return err_set(err, ERR_USAGE,
			       "guest memory of %" PRIu64
			       " bytes: of huge pages whole ones, of 2 MiB, are wanted",
			       size);
	if (host_memory_check(size, err) < 0)
		return -1;
	if (add_huge_region(m, 0, low) &&
	    (size == low || add_huge_region(m, GUEST_HOLE_END, size - low)))
		return 0;
	error = errno;
	guest_memory_destroy(m);
	errno = error;
	return no_huge_pages(size, err);
}

void guest_memory_destroy(struct guest_memory *m)
{
	for (unsigned i = 0; i < m->regions; i++)
		(void)munmap(m->region[i].host, m->region[i].size);
	m->regions = 0;
}

void *guest_range(const struct guest_memory *m, uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; len && i < m->regions; i++) {
		const struct guest_region *r = &m->region[i];

		if (addr >= r->start && range_inside(addr - r->start, len, r->size))
			return r->host + (addr - r->start);
	}
	return NULL;
}

static uint64_t resident_in(const struct guest_region *r)
{
	enum { PAGE = 4096, PAGES = 16384 };
	uint64_t pages = 0;
	unsigned char in[PAGES];

	for (uint64_t off = 0; off < r->size; off += (uint64_t)PAGE * PAGES) {
		size_t n = (size_t)min_u64(r->size - off, (uint64_t)PAGE * PAGES);

		if (mincore(r->host + off, n, in) < 0)
			continue;
		for (size_t i = 0; i < n / PAGE; i++)
			pages += in[i] & 1;
	}
	return pages * PAGE;
}

uint64_t guest_memory_resident(const struct guest_memory *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->regions; i++)
		sum += resident_in(&m->region[i]);
	return sum;
}
