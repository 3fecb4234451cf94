/* vmctl hosts --pacemaker: machines as resources of a Pacemaker cluster, which is what keeps one from running twice. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmctl/hostlist.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/host/xmldoc.h"

/* An XML id; different names may look the same in it, so some of the UUID is in it too */
static void id_of(const json_t *m, char ret[128])
{
	const char *name = json_string_value(json_object_get(m, "name")),
		   *uuid = json_string_value(json_object_get(m, "uuid"));
	size_t n = 0;

	ret[n++] = 'v';
	ret[n++] = 'm';
	ret[n++] = '-';
	for (; name && *name && n < 96; name++)
		ret[n++] = isalnum((unsigned char)*name) || *name == '-' || *name == '_' ||
					   *name == '.'
				   ? *name
				   : '_';
	(void)snprintf(ret + n, 128 - n, "-%.8s", uuid ? uuid : "");
}

static void nvpair(const char *id, const char *name, const char *value)
{
	CLEANUP_FREE char *safe = xml_escape(value);

	(void)printf("      <nvpair id=\"%s-%s\" name=\"%s\" value=\"%s\"/>\n", id, name, name,
		     safe ? safe : "");
}

static void operation(const char *id, const char *name, const char *interval, const char *timeout)
{
	(void)printf("      <op id=\"%s-%s\" name=\"%s\" interval=\"%s\" timeout=\"%s\"/>\n", id,
		     name, name, interval, timeout);
}

/* Every node has to find the definition under the same name: where that is, is for the administrator to see to. */
static void primitive(const json_t *m, const char *uri, const char *folder)
{
	const char *name = json_string_value(json_object_get(m, "name"));
	CLEANUP_FREE char *config = NULL;
	char id[128], attributes[160], meta[160];

	id_of(m, id);
	(void)snprintf(attributes, sizeof(attributes), "%s-attributes", id);
	(void)snprintf(meta, sizeof(meta), "%s-meta", id);
	if (asprintf(&config, "%s/%s.xml", folder, name ? name : "") < 0) {
		config = NULL;
		return;
	}
	(void)printf("  <primitive id=\"%s\" class=\"ocf\" provider=\"heartbeat\" "
		     "type=\"VirtualDomain\">\n    <instance_attributes id=\"%s\">\n",
		     id, attributes);
	nvpair(attributes, "config", config);
	nvpair(attributes, "hypervisor", uri);
	nvpair(attributes, "migration_transport", "ssh");
	(void)printf("    </instance_attributes>\n    <meta_attributes id=\"%s\">\n", meta);
	nvpair(meta, "allow-migrate", "true");
	(void)printf("    </meta_attributes>\n    <operations>\n");
	operation(id, "start", "0", "120s");
	operation(id, "stop", "0", "180s");
	operation(id, "monitor", "30s", "30s");
	operation(id, "migrate_to", "0", "600s");
	operation(id, "migrate_from", "0", "600s");
	(void)printf("    </operations>\n  </primitive>\n");
}

static bool was_there(const struct vmctl_answer *a, size_t host, size_t machine)
{
	const char *uuid =
		json_string_value(json_object_get(json_array_get(a[host].value, machine), "uuid"));

	for (size_t i = 0; i <= host; i++)
		for (size_t k = 0; k < json_array_size(a[i].value); k++) {
			const char *other = json_string_value(
				json_object_get(json_array_get(a[i].value, k), "uuid"));

			if (i == host && k == machine)
				return false;
			if (uuid && other && strcmp(uuid, other) == 0)
				return true;
		}
	return false;
}

/* "qemu:///system" is the same daemon on every node; of a URI with a host's name that part is not. */
static const char *local_uri(const json_t *m)
{
	const char *uri = json_string_value(json_object_get(m, "host")),
		   *path = uri ? strstr(uri, "://") : NULL;

	return path && strstr(path, "/session") ? "qemu:///session" : "qemu:///system";
}

static int ask(struct host *h, void *ctx, json_t **ret, struct err *err)
{
	struct domain_info *list;
	json_t *out = json_array();
	size_t n;

	(void)ctx;
	if (!out)
		return err_nomem(err);
	if (strcmp(host_uri(h), BUILTIN_URI) == 0) {
		json_decref(out);
		return err_set(err, ERR_UNSUPPORTED, "Pacemaker has no agent for vmrun's machines");
	}
	if (host_list(h, &list, &n, err) < 0) {
		json_decref(out);
		return -1;
	}
	for (size_t i = 0; i < n; i++)
		if (list[i].persistent)
			(void)json_array_append_new(out, vmctl_info_json(host_uri(h), &list[i]));
	host_list_free(list, n);
	*ret = out;
	return 0;
}

int hosts_pacemaker(const char *folder, struct err *err)
{
	struct vmctl_answer *a;
	size_t n;
	int rc;

	if (vmctl_ask_all(ask, NULL, &a, &n, err) < 0)
		return -1;
	rc = vmctl_verdict(a, n, err);
	if (rc == 0 || err->code == ERR_DIFFERS) {
		(void)printf("<resources>\n");
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < json_array_size(a[i].value); k++) {
				const json_t *m = json_array_get(a[i].value, k);

				if (json_is_true(json_object_get(m, "autostart")))
					log_warning("%s: libvirt starts it too: vmctl autostart "
						    "--off",
						    json_string_value(json_object_get(m, "name")));
				if (!was_there(a, i, k))
					primitive(m, local_uri(m), folder);
			}
		(void)printf("</resources>\n");
	}
	vmctl_answers_free(a, n);
	return rc;
}
