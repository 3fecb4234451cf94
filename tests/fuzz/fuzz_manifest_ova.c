/* The rest of a hostile package: manifest, certificate, names, units, and the tar archive with its gzip. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/package/manifest.h"
#include "libcommon/package/ova_read.h"
#include "libcommon/package/ovf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void manifest(const char *text, size_t len)
{
	struct manifest m;

	if (manifest_parse(&m, text, len, NULL) == 0)
		for (size_t i = 0; i < m.n; i++)
			if (!manifest_find(&m, m.lines[i].name) || strlen(m.lines[i].hex) < 40)
				abort();
	manifest_release(&m);
	if (manifest_parse_cert(&m, text, len, NULL) == 0 && (m.n != 1 || m.pem_at > len))
		abort();
	manifest_release(&m);
}

static void words(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size < 256 ? size : 256), *name = NULL;
	uint64_t factor;

	if (!text)
		return;
	if (ovf_decode_href(text, &name, NULL) == 0 && (name[0] == '/' || !name[0]))
		abort();
	if (ovf_units(text, &factor) && (!factor || factor > 1ULL << 60))
		abort();
	free(name);
	free(text);
}

static void archive(const uint8_t *data, size_t size)
{
	struct ova_member *list;
	struct bfile *file, *out;
	size_t n;

	if (bfile_of_memory(&file, data, size, NULL))
		return;
	if (ova_index(file, &list, &n, NULL) == 0) {
		for (size_t i = 0; i < n; i++)
			if (list[i].off > size || list[i].size > size - list[i].off)
				abort();
		ova_index_free(list, n);
	}
	if (size > 2 && data[0] == 0x1f && ova_gunzip(file, 1 << 20, &out, NULL) == 0)
		bfile_close(out);
	bfile_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	manifest((const char *)data, size);
	words(data, size);
	archive(data, size);
	return 0;
}
