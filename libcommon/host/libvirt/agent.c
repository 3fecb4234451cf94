/* The guest agent: JSON in, JSON out. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/libvirt/lib.h"

/* The answer comes out of a guest: anything may be in it. */
static int parse_answer(const char *text, json_t **ret, struct err *err)
{
	json_error_t why;
	json_t *doc = json_loads(text, 0, &why), *value = json_object_get(doc, "return");

	if (!value) {
		json_decref(doc);
		return err_set(err, ERR_FAILED, "the guest agent's answer is not understood");
	}
	*ret = json_incref(value);
	json_decref(doc);
	return 0;
}

int libvirt_agent(struct domain *d, const json_t *command, unsigned timeout_s, json_t **ret,
		  struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	CLEANUP_FREE char *text = json_dumps(command, JSON_COMPACT), *answer = NULL;
	enum domain_state state;

	if (!text)
		return err_nomem(err);
	if (!lv->DomainQemuAgentCommand)
		return err_set(err, ERR_UNSUPPORTED,
			       "the guest agent needs libvirt-qemu.so.0, which is not here");
	if (domain_state(d, &state, NULL, err) < 0)
		return -1;
	if (state != DOMAIN_RUNNING)
		return err_set(err, ERR_CONNECTION, "is %s: its guest agent does not answer",
			       domain_state_name(state));
	answer = lv->DomainQemuAgentCommand(libvirt_domain(d), text, (int)timeout_s, 0);
	return answer ? parse_answer(answer, ret, err) : libvirt_error(lv, err);
}
