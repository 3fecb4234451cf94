/* The port bus: see bus.h. */
#include "libcommon/runner/bus.h"

#include <string.h>

bool bus_add(struct bus *b, const struct bus_range *r)
{
	if (b->ranges == BUS_RANGES_MAX)
		return false;
	b->range[b->ranges++] = *r;
	return true;
}

static const struct bus_range *find(const struct bus *b, uint16_t port)
{
	for (unsigned i = 0; i < b->ranges; i++)
		if (port >= b->range[i].base && port - b->range[i].base < b->range[i].len)
			return &b->range[i];
	return NULL;
}

static void whole(const struct bus *b, bool out, uint16_t port, unsigned size, uint8_t *data)
{
	const struct bus_range *r = find(b, port);
	uint16_t off = r ? (uint16_t)(port - r->base) : 0;
	uint32_t v = UINT32_MAX;

	if (out) {
		v = 0;
		memcpy(&v, data, size);
		if (r && r->write)
			r->write(r->dev, off, size, v);
		return;
	}
	if (r && r->read)
		v = r->read(r->dev, off, size);
	memcpy(data, &v, size);
}

void bus_access(const struct bus *b, bool out, uint16_t port, unsigned size, void *data)
{
	const struct bus_range *r = find(b, port);
	uint8_t *p = data;

	if (size != 1 && size != 2 && size != 4) {
		if (!out)
			memset(p, 0xff, size);
		return;
	}
	/* A wide access that leaves its device is what its bytes are. */
	if (r && !r->bytes && size <= (unsigned)r->len - (unsigned)(port - r->base)) {
		whole(b, out, port, size, p);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		whole(b, out, (uint16_t)(port + i), 1, p + i);
}
