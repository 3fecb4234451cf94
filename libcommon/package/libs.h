/* libarchive and libxml2, loaded when the first package is opened and not before.
 *
 * The two bring thirteen libraries with them (ICU among them): linked, they made every start of vmimg 2.8 ms of processor
 * time slower (2.2 to 5.0 ms, 2026-11-23). So vmimg is not linked with them. Functions are members of the same names.
 */
#ifndef VMKIT_PACKAGE_LIBS_H
#define VMKIT_PACKAGE_LIBS_H

#include <archive.h>
#include <archive_entry.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xmlerror.h>

#include "libcommon/base/err.h"

#define ARCHIVE_FUNCTIONS(F)                                                                       \
	F(archive_read_new)                                                                        \
	F(archive_read_free)                                                                       \
	F(archive_read_support_format_tar)                                                         \
	F(archive_read_support_format_raw)                                                         \
	F(archive_read_support_filter_gzip)                                                        \
	F(archive_read_set_read_callback)                                                          \
	F(archive_read_set_skip_callback)                                                          \
	F(archive_read_set_callback_data)                                                          \
	F(archive_read_open1)                                                                      \
	F(archive_read_next_header)                                                                \
	F(archive_read_data)                                                                       \
	F(archive_filter_bytes)                                                                    \
	F(archive_filter_code)                                                                     \
	F(archive_error_string)                                                                    \
	F(archive_entry_pathname)                                                                  \
	F(archive_entry_pathname_utf8)                                                             \
	F(archive_entry_filetype)                                                                  \
	F(archive_entry_hardlink)                                                                  \
	F(archive_entry_size)                                                                      \
	F(archive_entry_sparse_count)                                                              \
	F(archive_write_new)                                                                       \
	F(archive_write_free)                                                                      \
	F(archive_write_set_format_iso9660)                                                        \
	F(archive_write_set_options)                                                               \
	F(archive_write_open_fd)                                                                   \
	F(archive_write_header)                                                                    \
	F(archive_write_data)                                                                      \
	F(archive_write_close)                                                                     \
	F(archive_entry_new)                                                                       \
	F(archive_entry_free)                                                                      \
	F(archive_entry_set_pathname)                                                              \
	F(archive_entry_set_filetype)                                                              \
	F(archive_entry_set_perm)                                                                  \
	F(archive_entry_set_size)                                                                  \
	F(archive_entry_set_uid)                                                                   \
	F(archive_entry_set_gid)                                                                   \
	F(archive_entry_set_mtime)                                                                 \
	F(archive_entry_set_hardlink)                                                              \
	F(archive_entry_set_symlink)                                                               \
	F(archive_entry_set_rdevmajor)                                                             \
	F(archive_entry_set_rdevminor)                                                             \
	F(archive_entry_sparse_add_entry)                                                          \
	F(archive_write_set_format_pax_restricted)                                                 \
	F(archive_write_set_bytes_in_last_block)                                                   \
	F(archive_write_open)

#define XML_FUNCTIONS(F)                                                                           \
	F(xmlReadMemory)                                                                           \
	F(xmlFreeDoc)                                                                              \
	F(xmlDocGetRootElement)                                                                    \
	F(xmlNodeGetContent)                                                                       \
	F(xmlGetLastError)                                                                         \
	F(xmlResetLastError)

#define LIBS_MEMBER(name) __typeof__(name) *name;

struct archive_lib {
	ARCHIVE_FUNCTIONS(LIBS_MEMBER)
};

struct xml_lib {
	XML_FUNCTIONS(LIBS_MEMBER)
};

/** archive_lib() - Return: the functions, loaded once for the process, or NULL (ERR_UNSUPPORTED); any thread */
const struct archive_lib *archive_lib(struct err *err);
const struct xml_lib *xml_lib(struct err *err);

#endif
