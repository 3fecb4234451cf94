/* vmimg map: which guest ranges are data, where they lie, and which layer of the chain holds them. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"

static const char *format, *snapshot;
static uint64_t start, most = UINT64_MAX;
static bool shared, data_only;
static struct opt_list allow;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &format, "FORMAT", "format of the image; probed without it",
	 .complete = COMPLETE_FORMAT},
	{'s', "start-offset", OPT_SIZE, &start, .arg = "SIZE",
	 .help = "begin at this offset of the virtual disk"},
	{'l', "max-length", OPT_SIZE, &most, .arg = "SIZE", .help = "show this many bytes at most"},
	{.name = "data",
	 .type = OPT_FLAG,
	 .value = &data_only,
	 .help = "leave out what reads as zero"},
	{.name = "snapshot",
	 .type = OPT_STRING,
	 .value = &snapshot,
	 .arg = "NAME",
	 .help = "map this internal snapshot, by name or id"},
	{'U', "force-share", OPT_FLAG, &shared,
	 .help = "read it even while another process writes to it"},
	{.name = "allow-backing",
	 .type = OPT_LIST,
	 .value = &allow,
	 .arg = "DIR",
	 .help = "folder that backing files may lie in, beside that of the image; may be repeated",
	 .complete = COMPLETE_DIR},
	OPT_END,
};

struct printer {
	struct cli *cli;
	int width;     /* of offsets in the table */
	uint64_t rows; /* printed */
};

static const char *kind_name(enum extent_kind kind)
{
	switch (kind) {
	case EXTENT_DATA:
		return "data";
	case EXTENT_ZERO:
		return "zero";
	case EXTENT_UNALLOCATED:
		break;
	}
	return "unallocated";
}

static const char *codec_name(enum codec codec)
{
	switch (codec) {
	case CODEC_DEFLATE:
		return "deflate";
	case CODEC_ZLIB:
		return "zlib";
	case CODEC_ZSTD:
		return "zstd";
	case CODEC_OPAQUE:
		return "opaque";
	case CODEC_NONE:
		break;
	}
	return "none";
}

/* A plain place in a host file; compressed units have a place too, but a merged run of them has not. */
static bool is_plain(const struct extent *e)
{
	return e->kind == EXTENT_DATA && e->file && e->codec == CODEC_NONE;
}

static bool continues(const struct extent *a, const struct extent *b)
{
	if (a->kind != b->kind || a->depth != b->depth || a->codec != b->codec ||
	    a->layer != b->layer || is_plain(a) != is_plain(b))
		return false;
	return !is_plain(a) || (a->file == b->file && a->host_off + a->len == b->host_off);
}

static json_t *extent_json(const struct extent *e)
{
	json_t *o =
		json_pack("{s:I, s:I, s:s, s:i}", "offset", (json_int_t)e->off, "length",
			  (json_int_t)e->len, "kind", kind_name(e->kind), "depth", (int)e->depth);

	if (o && e->codec != CODEC_NONE)
		(void)json_object_set_new(o, "codec", json_string(codec_name(e->codec)));
	if (o && is_plain(e)) {
		(void)json_object_set_new(o, "file", cli_json_string(e->file->name));
		(void)json_object_set_new(o, "host_offset", json_integer((json_int_t)e->host_off));
	}
	return o;
}

static int print_json(struct printer *p, const struct extent *e)
{
	json_t *o = extent_json(e);
	const char *before = p->cli->json_lines ? "" : p->rows ? ",\n  " : "[\n  ";
	int rc = o && fputs(before, stdout) >= 0 &&
				 json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER) == 0
			 ? 0
			 : -1;

	json_decref(o);
	if (rc == 0 && p->cli->json_lines && putchar('\n') == EOF)
		rc = -1;
	return rc;
}

static int print_row(struct printer *p, const struct extent *e)
{
	int w = p->width, n;

	if (!p->rows)
		(void)printf("%*s  %*s  %-11s  %5s  %*s  %s\n", w, "OFFSET", w, "LENGTH", "KIND",
			     "DEPTH", w, "HOST OFFSET", "FILE");
	n = printf("%*" PRIu64 "  %*" PRIu64 "  %-11s  ", w, e->off, w, e->len,
		   e->codec == CODEC_NONE ? kind_name(e->kind) : codec_name(e->codec));
	if (n < 0)
		return -1;
	if (e->kind == EXTENT_UNALLOCATED)
		return printf("%5s\n", "-");
	if (!is_plain(e))
		return printf("%5u\n", e->depth);

	char *file = cli_printable(e->file->name);

	n = printf("%5u  %*" PRIu64 "  %s\n", e->depth, w, e->host_off, file ? file : "?");
	free(file);
	return n;
}

static int print(struct printer *p, const struct extent *e, struct err *err)
{
	if (e->len == 0 || (data_only && e->kind != EXTENT_DATA))
		return 0;
	errno = 0;
	if ((p->cli->json ? print_json(p, e) : print_row(p, e)) < 0)
		return errno ? err_sys(err, "cannot write to standard output") : err_nomem(err);
	p->rows++;
	return 0;
}

/* Runs of like extents become one row: formats answer a cluster or a table at a time. */
static int map(struct printer *p, struct image *img, uint64_t off, uint64_t end, struct err *err)
{
	struct extent run = {.len = 0};

	while (off < end) {
		struct extent e;

		if (stop_check(err) < 0)
			return -1;
		if (image_extent(img, off, end - off, &e, err) < 0)
			return err_object(err, image_name(img));
		off += e.len;
		if (run.len && continues(&run, &e)) {
			run.len += e.len;
			continue;
		}
		if (print(p, &run, err) < 0)
			return -1;
		run = e;
	}
	return print(p, &run, err);
}

static int decimal_digits(uint64_t v)
{
	int n = 1;

	while (v >= 10) {
		v /= 10;
		n++;
	}
	return n;
}

static int map_range(struct cli *cli, struct image *img, struct err *err)
{
	uint64_t size = image_size(img);
	struct printer p = {.cli = cli, .width = decimal_digits(size)};

	if (image_is_stream(img)) {
		err_set(err, ERR_UNSUPPORTED, "a stream cannot be mapped");
		return err_object(err, image_name(img));
	}
	if (p.width < 11)
		p.width = 11; /* "HOST OFFSET" */
	if (start > size) {
		err_set(err, ERR_USAGE,
			"--start-offset %" PRIu64 " is beyond the end of the virtual disk (%" PRIu64
			")",
			start, size);
		return err_object(err, image_name(img));
	}
	if (map(&p, img, start, start + min_u64(most, size - start), err) < 0)
		return -1;
	if (cli->json && !cli->json_lines)
		(void)fputs(p.rows ? "\n]\n" : "[]\n",
			    stdout); /* its errors are found when stdout is closed */
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct image_open_opts opts = {
		.format = format,
		.flags = shared ? IMAGE_SHARED : 0,
		.snapshot = snapshot,
		.allow_dirs = allow.items,
		.n_allow_dirs = allow.count,
	};
	struct image *img;

	(void)argc;
	if (image_open(&img, argv[0], &opts, err) < 0)
		return -1;

	int rc = map_range(cli, img, err);

	image_close(img);
	return rc;
}

static const char *const examples[] = {
	"vmimg map disk.qcow2",
	"vmimg map --json=lines --data disk.qcow2 | jq -s 'map(.length) | add'",
	NULL,
};

const struct verb verb_map = {
	.name = "map",
	.usage = "[OPTIONS] IMAGE",
	.summary = "show which ranges hold data, and where they lie",
	.details = "Data of a compressed range is named by its codec. \"zero\" reads as zero "
		   "because a layer says so, "
		   "\"unallocated\" because none says anything. Depth 0 is the image itself, 1 its "
		   "backing file. A host "
		   "offset is shown where byte i of the range is byte i after it in the file.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 the offset is beyond the end, 4 no such image or backing file, 6 in "
		    "use (see -U), "
		    "8 damaged, 9 unknown feature, or a stream, 12 no permission, or the chain "
		    "leaves its folder",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
