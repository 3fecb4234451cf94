/* libcurl, loaded when the first S3 repository is opened and not before: with its libraries (GSSAPI, LDAP, HTTP/2, ...) a
 * linked curl would make each start of each program slower. Functions are members of the same names.
 */
#ifndef VMKIT_REPO_BACKEND_S3_CURL_H
#define VMKIT_REPO_BACKEND_S3_CURL_H

#define CURL_DISABLE_TYPECHECK /* its macros know the functions only by their own names */
#include <curl/curl.h>

#include "libcommon/base/err.h"

#define CURL_FUNCTIONS(F)                                                                          \
	F(curl_global_init)                                                                        \
	F(curl_easy_init)                                                                          \
	F(curl_easy_cleanup)                                                                       \
	F(curl_easy_reset)                                                                         \
	F(curl_easy_setopt)                                                                        \
	F(curl_easy_perform)                                                                       \
	F(curl_easy_strerror)                                                                      \
	F(curl_slist_append)                                                                       \
	F(curl_slist_free_all)                                                                     \
	F(curl_getdate)

#define CURL_MEMBER(name) __typeof__(name) *name;

struct curl_lib {
	CURL_FUNCTIONS(CURL_MEMBER)
};

/** curl_lib() - Return: the functions, loaded once for the process, or NULL (ERR_UNSUPPORTED); any thread */
const struct curl_lib *curl_lib(struct err *err);

#endif
