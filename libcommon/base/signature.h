/* Signatures by X.509 certificates, over OpenSSL. */
#ifndef VMKIT_BASE_SIGNATURE_H
#define VMKIT_BASE_SIGNATURE_H

#include <stddef.h>

struct err;

/**
 * signature_verify() - was @data signed with the key of the first certificate in @pem?
 * @algorithm: digest that was signed: sha1, sha256, sha512, ...
 * @ret_subject: the certificate's subject, one line, owned (free)
 *
 * Who issued the certificate, and whether it has run out, is not looked at.
 * Return: 0; -1: ERR_CORRUPT (it was not, or there is no certificate), ERR_UNSUPPORTED (the kind of key)
 */
int signature_verify(const char *pem, size_t pem_len, const char *algorithm, const void *signature,
		     size_t signature_len, const void *data, size_t len, char **ret_subject,
		     struct err *err);

#endif
