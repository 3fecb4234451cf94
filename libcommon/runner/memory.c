/* Guest memory: see memory.h. */
#include "libcommon/runner/memory.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/size.h"

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

static int add_region(struct guest_memory *m, uint64_t start, uint64_t size, struct err *err)
{
	char text[SIZE_TEXT_MAX];
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return err_sys(err, "no %s of guest memory", size_format(size, text));
	m->region[m->regions++] = (struct guest_region){start, size, p, false};
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
