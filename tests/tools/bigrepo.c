/* bigrepo: a repository as large as it takes, of which only the index, the pages and the manifests are real.
 *
 *	bigrepo REPO GIB	one snapshot big@... of a disk of GIB gibibytes of unique data, in an unencrypted repository
 *	bigrepo REPO 0 N	N snapshots of an empty disk, of ten machines
 *
 * Its chunks have ids at random and lie in packs that are holes of the right length: nothing of them can be read, but
 * all that looks them up, walks trees or collects does what it would do with the real ones.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/repo/manifest.h"
#include "libcommon/repo/store_private.h"
#include "libcommon/repo/tree.h"

enum { CHUNK = 64 << 10, CHUNKS = CHUNK_REGION / CHUNK, PACK_CHUNKS = 1000, RUN = 131 };

static struct err err;
static const char *folder;
static uint64_t state = 88172645463325252ULL;

static void must(int rc)
{
	if (!rc)
		return;
	(void)fprintf(stderr, "bigrepo: %s\n", err.message);
	exit(1);
}

static void random_fill(void *buf, size_t len)
{
	for (uint8_t *p = buf; len >= 8; p += 8, len -= 8) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(p, &state, 8);
	}
}

/* A pack of the right length with nothing in it */
static void make_pack(const uint8_t id[PACK_ID])
{
	char name[PACK_NAME_MAX], path[1024];
	int fd;

	pack_name(id, name);
	(void)snprintf(path, sizeof(path), "%s/%.8s", folder, name);
	(void)mkdir(path, 0700);
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 64 << 20) < 0 || close(fd) < 0) {
		perror(path);
		exit(1);
	}
}

struct big {
	struct store *st;
	struct store_writer *w;
	struct index_entry *entries; /* RUN packs */
	uint8_t packs[RUN * PACK_ID];
	size_t n, n_packs;
};

static void flush(struct big *b)
{
	char name[INDEX_NAME_MAX];

	if (!b->n)
		return;
	must(index_write(b->st->backend, b->st->crypto, b->entries, b->n, b->packs, b->n_packs,
			 name, &err));
	must(store_add_run(b->st, name, &err));
	must(store_merge(b->st, &err));
	b->n = b->n_packs = 0;
}

static void add_chunk(struct big *b, const struct repo_id *id)
{
	struct index_entry *e;
	uint32_t at = (uint32_t)(b->n % PACK_CHUNKS);

	if (b->n == (size_t)RUN * PACK_CHUNKS)
		flush(b);
	if (b->n % PACK_CHUNKS == 0) {
		random_fill(b->packs + b->n_packs * PACK_ID, PACK_ID);
		make_pack(b->packs + b->n_packs++ * PACK_ID);
	}
	e = &b->entries[b->n++];
	memset(e, 0, sizeof(*e));
	e->id = *id;
	memcpy(e->place.pack, b->packs + (b->n_packs - 1) * PACK_ID, PACK_ID);
	e->place.section_off = PACK_HEADER + at / 16 * (1 << 20);
	e->place.section_len = 1 << 20;
	e->place.off = at % 16 * CHUNK;
	e->place.len = CHUNK;
	e->place.type = BLOB_CHUNK;
}

static int put_page(void *ctx, const uint8_t *data, size_t len, struct repo_id *ret, struct err *e)
{
	struct big *b = ctx;
	bool fresh;

	return store_id(b->st, BLOB_PAGE, data, len, ret, e) ||
			       store_put(b->w, 0, BLOB_PAGE, ret, data, len, &fresh, e)
		       ? -1
		       : 0;
}

static struct snapshot describe(const char *vm, struct snapshot_disk *d, const struct tree *t)
{
	static char host[] = "host", when[] = "2026-11-26T00:00:00Z", tool[] = "bigrepo",
		    disk[] = "vda", text[] = "raw";
	struct snapshot s = {.host = host, .time = when, .tool = tool, .disks = d, .n_disks = 1};

	*d = (struct snapshot_disk){.name = disk,
				    .source = text,
				    .format = text,
				    .change_source = text,
				    .size = t->size,
				    .data_bytes = t->size,
				    .root = t->root,
				    .tree_levels = t->levels};
	s.vm = strdup(vm);
	random_fill(&s.id, sizeof(s.id));
	return s;
}

static void big_disk(struct store *st, uint64_t gib)
{
	const struct store_writer_opts opts = {.workers = 1};
	uint8_t *page = malloc(PAGE_BYTES_MAX);
	struct big b = {.st = st, .entries = calloc((size_t)RUN * PACK_CHUNKS, sizeof(*b.entries))};
	struct tree_builder *tb;
	struct page_chunk chunks[CHUNKS];
	struct snapshot_disk d;
	struct snapshot s;
	struct tree t;
	uint64_t stored;

	must(!page || !b.entries ? err_nomem(&err) : 0);
	must(store_writer_new(&b.w, st, &opts, &err));
	must(tree_builder_new(&tb, gib << 6, &err));
	for (uint64_t r = 0; r < gib << 6; r++) {
		struct repo_id leaf;

		for (uint32_t i = 0; i < CHUNKS; i++) {
			chunks[i] = (struct page_chunk){.off = i * CHUNK, .len = CHUNK};
			random_fill(&chunks[i].id, sizeof(chunks[i].id));
			random_fill(chunks[i].mark, PAGE_MARK);
			add_chunk(&b, &chunks[i].id);
		}
		must(put_page(&b, page, page_encode_leaf(chunks, CHUNKS, page), &leaf, &err));
		must(tree_builder_set(tb, r, &leaf, &err));
	}
	flush(&b);
	must(tree_builder_finish(tb, gib << 30, put_page, &b, &t, &err));
	tree_builder_free(tb);
	must(store_writer_finish(b.w, &stored, &err));
	s = describe("big", &d, &t);
	must(manifest_commit(st, &s, &err));
	free(s.vm);
	free(b.entries);
	free(page);
}

static void many_snapshots(struct store *st, unsigned long n)
{
	const struct tree t = {.size = 1ULL << 30, .levels = tree_levels(1ULL << 30)};

	for (unsigned long i = 0; i < n; i++) {
		char vm[16];
		struct snapshot_disk d;
		struct snapshot s;

		(void)snprintf(vm, sizeof(vm), "vm%lu", i % 10);
		s = describe(vm, &d, &t);
		must(manifest_commit(st, &s, &err));
		free(s.vm);
	}
}

int main(int argc, char **argv)
{
	struct repo *r;

	if (argc != 3 && argc != 4) {
		(void)fprintf(stderr, "usage: bigrepo REPO GIB | REPO 0 SNAPSHOTS\n");
		return 2;
	}
	folder = argv[1];
	must(repo_open(&r, folder, NULL, &err));
	if (argc == 3)
		big_disk(repo_store(r), strtoull(argv[2], NULL, 10));
	else
		many_snapshots(repo_store(r), strtoul(argv[3], NULL, 10));
	repo_close(r);
	return 0;
}
