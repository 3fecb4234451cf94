/* Frames on a stream socket: their length in 4 bytes, big-endian, and their bytes. See net.h. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/runner/net.h"

enum { PREFIX = 4, SENT_MAX = 65535 /* of a frame: the other end takes no more */ };

/* In front of each frame in the buffer there is room for a header: the length's own bytes, and eight that are not needed any
 * more or, at the start, are kept free. */
enum { FREE = NET_HEADER - PREFIX };

/* What is not taken yet moves to the start, and more comes behind it. Return: bytes that came, 0 none, -1 the end */
static ssize_t fill(struct net *n)
{
	ssize_t got;

	if (n->in_start != FREE) {
		memmove(n->in + FREE, n->in + n->in_start, n->in_len);
		n->in_start = FREE;
	}
	do
		got = recv(n->fd, n->in + FREE + n->in_len, NET_STREAM_IN - FREE - n->in_len,
			   MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	if (got > 0) {
		n->in_len += (size_t)got;
		return got;
	}
	return got < 0 && errno == EAGAIN ? 0 : -1;
}

static bool whole(const struct net *n)
{
	return n->in_len >= PREFIX && n->in_len - PREFIX >= get_be32(n->in + n->in_start);
}

static bool bad_length(const struct net *n)
{
	uint32_t len = n->in_len < PREFIX ? NET_FRAME_MIN : get_be32(n->in + n->in_start);

	return len < NET_FRAME_MIN || len > NET_FRAME_MAX;
}

static ssize_t stream_receive(struct net *n, uint8_t **ret)
{
	uint8_t *header;
	size_t len;

	if (bad_length(n))
		return -1; /* where the next one begins cannot be known */
	if (!whole(n)) {
		ssize_t rc = fill(n);

		if (rc <= 0)
			return rc;
		if (bad_length(n))
			return -1;
		if (!whole(n)) /* the descriptor becomes readable again */
			return 0;
	}
	len = get_be32(n->in + n->in_start);
	n->in_start += PREFIX + len;
	n->in_len -= PREFIX + len;
	header = n->in + n->in_start - len - NET_HEADER;
	memset(header, 0, NET_HEADER);
	header[NH_FLAGS] = n->checksummed ? NH_DATA_VALID : 0;
	*ret = header;
	return (ssize_t)(NET_HEADER + len);
}

static bool stream_flush(struct net *n)
{
	while (n->out_len) {
		ssize_t done =
			send(n->fd, n->out + n->out_start, n->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN)
			return false;
		if (done < 0) /* nobody is there to miss it */
			done = (ssize_t)n->out_len;
		n->out_start += (size_t)done;
		n->out_len -= (size_t)done;
	}
	return true;
}

/* The bytes of @iov from @skip on are kept */
static void keep(struct net *n, const struct iovec *iov, unsigned count, size_t skip)
{
	n->out_start = n->out_len = 0;
	for (unsigned i = 0; i < count; i++) {
		size_t part = iov[i].iov_len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		memcpy(n->out + n->out_len, (const uint8_t *)iov[i].iov_base + skip, part - skip);
		n->out_len += part - skip;
		skip = 0;
	}
}

static enum net_sent stream_send(struct net *n, const uint8_t header[NET_HEADER],
				 const struct iovec *iov, unsigned count, size_t len)
{
	struct iovec all[NET_IOV_MAX + 1];
	struct msghdr msg = {.msg_iov = all, .msg_iovlen = count + 1};
	uint8_t prefix[PREFIX];
	ssize_t done;

	(void)header;
	if (atomic_load(&n->gone) || len > SENT_MAX)
		return NET_DROPPED;
	if (!stream_flush(n))
		return NET_LATER;
	put_be32(prefix, (uint32_t)len);
	all[0] = (struct iovec){prefix, PREFIX};
	memcpy(all + 1, iov, count * sizeof(*iov));
	do
		done = sendmsg(n->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (done < 0 && errno == EINTR);
	if (done < 0)
		return errno == EAGAIN ? NET_LATER : NET_DROPPED;
	if ((size_t)done < PREFIX + len)
		keep(n, all, count + 1, (size_t)done);
	return NET_SENT;
}

const struct net_ops net_stream_ops = {
	.receive = stream_receive, .send = stream_send, .flush = stream_flush};
