/* libcrypto (OpenSSL), loaded when the first of its functions is called.
 *
 * A program that is linked with it spends nearly half of its start on it, and most calls of ours (info, list, map, a machine's
 * start) need nothing of it. Its functions have their own names here; one that is not in the list does not link. Where it is not
 * there the process ends, as nothing that asked for a digest or a key could go on: see libcrypto_if_missing().
 */
#ifndef VMKIT_BASE_LIBCRYPTO_H
#define VMKIT_BASE_LIBCRYPTO_H

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdatomic.h>

#define LIBCRYPTO_FUNCTIONS(F)                                                                     \
	F(BIO_free)                                                                                \
	F(BIO_new_mem_buf)                                                                         \
	F(CRYPTO_clear_free)                                                                       \
	F(CRYPTO_malloc)                                                                           \
	F(CRYPTO_memcmp)                                                                           \
	F(EVP_CIPHER_CTX_ctrl)                                                                     \
	F(EVP_CIPHER_CTX_free)                                                                     \
	F(EVP_CIPHER_CTX_new)                                                                      \
	F(EVP_CIPHER_fetch)                                                                        \
	F(EVP_CIPHER_free)                                                                         \
	F(EVP_CipherFinal_ex)                                                                      \
	F(EVP_CipherInit_ex)                                                                       \
	F(EVP_CipherInit_ex2)                                                                      \
	F(EVP_CipherUpdate)                                                                        \
	F(EVP_DecryptFinal_ex)                                                                     \
	F(EVP_DecryptUpdate)                                                                       \
	F(EVP_Digest)                                                                              \
	F(EVP_DigestFinal_ex)                                                                      \
	F(EVP_DigestInit_ex)                                                                       \
	F(EVP_DigestInit_ex2)                                                                      \
	F(EVP_DigestUpdate)                                                                        \
	F(EVP_DigestVerify)                                                                        \
	F(EVP_DigestVerifyInit)                                                                    \
	F(EVP_EncodeBlock)                                                                         \
	F(EVP_EncryptFinal_ex)                                                                     \
	F(EVP_EncryptInit_ex2)                                                                     \
	F(EVP_EncryptUpdate)                                                                       \
	F(EVP_KDF_CTX_free)                                                                        \
	F(EVP_KDF_CTX_new)                                                                         \
	F(EVP_KDF_derive)                                                                          \
	F(EVP_KDF_fetch)                                                                           \
	F(EVP_KDF_free)                                                                            \
	F(EVP_MAC_CTX_free)                                                                        \
	F(EVP_MAC_CTX_new)                                                                         \
	F(EVP_MAC_fetch)                                                                           \
	F(EVP_MAC_final)                                                                           \
	F(EVP_MAC_free)                                                                            \
	F(EVP_MAC_init)                                                                            \
	F(EVP_MAC_update)                                                                          \
	F(EVP_MD_CTX_free)                                                                         \
	F(EVP_MD_CTX_new)                                                                          \
	F(EVP_MD_fetch)                                                                            \
	F(EVP_MD_free)                                                                             \
	F(EVP_MD_get_size)                                                                         \
	F(EVP_Q_mac)                                                                               \
	F(EVP_aes_128_xts)                                                                         \
	F(EVP_aes_256_xts)                                                                         \
	F(EVP_get_digestbyname)                                                                    \
	F(EVP_md5)                                                                                 \
	F(EVP_sha256)                                                                              \
	F(HMAC)                                                                                    \
	F(OPENSSL_cleanse)                                                                         \
	F(OSSL_PARAM_construct_end)                                                                \
	F(OSSL_PARAM_construct_uint64)                                                             \
	F(OSSL_PARAM_construct_utf8_string)                                                        \
	F(OpenSSL_version)                                                                         \
	F(PEM_read_bio_X509)                                                                       \
	F(PKCS5_PBKDF2_HMAC)                                                                       \
	F(RAND_bytes)                                                                              \
	F(RAND_priv_bytes)                                                                         \
	F(SHA256)                                                                                  \
	F(X509_NAME_oneline)                                                                       \
	F(X509_free)                                                                               \
	F(X509_get0_pubkey)                                                                        \
	F(X509_get_subject_name)

struct libcrypto {
#define LIBCRYPTO_MEMBER(name) __typeof__(&(name)) name;
	LIBCRYPTO_FUNCTIONS(LIBCRYPTO_MEMBER)
#undef LIBCRYPTO_MEMBER
};

extern _Atomic(const struct libcrypto *) libcrypto_loaded;

/**
 * libcrypto_load() - load it now, when not yet done: before threads give up what they need for that
 *
 * Return: its functions; of the whole process. Does not return without.
 */
const struct libcrypto *libcrypto_load(void);

/** libcrypto_if_missing() - @end, which does not return, is called where it cannot be loaded, by any thread; before there are others */
void libcrypto_if_missing(void (*end)(const char *why));

static inline const struct libcrypto *libcrypto(void)
{
	const struct libcrypto *p = atomic_load_explicit(&libcrypto_loaded, memory_order_acquire);

	return p ? p : libcrypto_load();
}

#ifndef LIBCRYPTO_IMPLEMENTATION
#define BIO_free			 (libcrypto()->BIO_free)
#define BIO_new_mem_buf			 (libcrypto()->BIO_new_mem_buf)
#define CRYPTO_clear_free		 (libcrypto()->CRYPTO_clear_free)
#define CRYPTO_malloc			 (libcrypto()->CRYPTO_malloc)
#define CRYPTO_memcmp			 (libcrypto()->CRYPTO_memcmp)
#define EVP_CIPHER_CTX_ctrl		 (libcrypto()->EVP_CIPHER_CTX_ctrl)
#define EVP_CIPHER_CTX_free		 (libcrypto()->EVP_CIPHER_CTX_free)
#define EVP_CIPHER_CTX_new		 (libcrypto()->EVP_CIPHER_CTX_new)
#define EVP_CIPHER_fetch		 (libcrypto()->EVP_CIPHER_fetch)
#define EVP_CIPHER_free			 (libcrypto()->EVP_CIPHER_free)
#define EVP_CipherFinal_ex		 (libcrypto()->EVP_CipherFinal_ex)
#define EVP_CipherInit_ex		 (libcrypto()->EVP_CipherInit_ex)
#define EVP_CipherInit_ex2		 (libcrypto()->EVP_CipherInit_ex2)
#define EVP_CipherUpdate		 (libcrypto()->EVP_CipherUpdate)
#define EVP_DecryptFinal_ex		 (libcrypto()->EVP_DecryptFinal_ex)
#define EVP_DecryptUpdate		 (libcrypto()->EVP_DecryptUpdate)
#define EVP_Digest			 (libcrypto()->EVP_Digest)
#define EVP_DigestFinal_ex		 (libcrypto()->EVP_DigestFinal_ex)
#define EVP_DigestInit_ex		 (libcrypto()->EVP_DigestInit_ex)
#define EVP_DigestInit_ex2		 (libcrypto()->EVP_DigestInit_ex2)
#define EVP_DigestUpdate		 (libcrypto()->EVP_DigestUpdate)
#define EVP_DigestVerify		 (libcrypto()->EVP_DigestVerify)
#define EVP_DigestVerifyInit		 (libcrypto()->EVP_DigestVerifyInit)
#define EVP_EncodeBlock			 (libcrypto()->EVP_EncodeBlock)
#define EVP_EncryptFinal_ex		 (libcrypto()->EVP_EncryptFinal_ex)
#define EVP_EncryptInit_ex2		 (libcrypto()->EVP_EncryptInit_ex2)
#define EVP_EncryptUpdate		 (libcrypto()->EVP_EncryptUpdate)
#define EVP_KDF_CTX_free		 (libcrypto()->EVP_KDF_CTX_free)
#define EVP_KDF_CTX_new			 (libcrypto()->EVP_KDF_CTX_new)
#define EVP_KDF_derive			 (libcrypto()->EVP_KDF_derive)
#define EVP_KDF_fetch			 (libcrypto()->EVP_KDF_fetch)
#define EVP_KDF_free			 (libcrypto()->EVP_KDF_free)
#define EVP_MAC_CTX_free		 (libcrypto()->EVP_MAC_CTX_free)
#define EVP_MAC_CTX_new			 (libcrypto()->EVP_MAC_CTX_new)
#define EVP_MAC_fetch			 (libcrypto()->EVP_MAC_fetch)
#define EVP_MAC_final			 (libcrypto()->EVP_MAC_final)
#define EVP_MAC_free			 (libcrypto()->EVP_MAC_free)
#define EVP_MAC_init			 (libcrypto()->EVP_MAC_init)
#define EVP_MAC_update			 (libcrypto()->EVP_MAC_update)
#define EVP_MD_CTX_free			 (libcrypto()->EVP_MD_CTX_free)
#define EVP_MD_CTX_new			 (libcrypto()->EVP_MD_CTX_new)
#define EVP_MD_fetch			 (libcrypto()->EVP_MD_fetch)
#define EVP_MD_free			 (libcrypto()->EVP_MD_free)
#define EVP_MD_get_size			 (libcrypto()->EVP_MD_get_size)
#define EVP_Q_mac			 (libcrypto()->EVP_Q_mac)
#define EVP_aes_128_xts			 (libcrypto()->EVP_aes_128_xts)
#define EVP_aes_256_xts			 (libcrypto()->EVP_aes_256_xts)
#define EVP_get_digestbyname		 (libcrypto()->EVP_get_digestbyname)
#define EVP_md5				 (libcrypto()->EVP_md5)
#define EVP_sha256			 (libcrypto()->EVP_sha256)
#define HMAC				 (libcrypto()->HMAC)
#define OPENSSL_cleanse			 (libcrypto()->OPENSSL_cleanse)
#define OSSL_PARAM_construct_end	 (libcrypto()->OSSL_PARAM_construct_end)
#define OSSL_PARAM_construct_uint64	 (libcrypto()->OSSL_PARAM_construct_uint64)
#define OSSL_PARAM_construct_utf8_string (libcrypto()->OSSL_PARAM_construct_utf8_string)
#define OpenSSL_version			 (libcrypto()->OpenSSL_version)
#define PEM_read_bio_X509		 (libcrypto()->PEM_read_bio_X509)
#define PKCS5_PBKDF2_HMAC		 (libcrypto()->PKCS5_PBKDF2_HMAC)
#define RAND_bytes			 (libcrypto()->RAND_bytes)
#define RAND_priv_bytes			 (libcrypto()->RAND_priv_bytes)
#define SHA256				 (libcrypto()->SHA256)
#define X509_NAME_oneline		 (libcrypto()->X509_NAME_oneline)
#define X509_free			 (libcrypto()->X509_free)
#define X509_get0_pubkey		 (libcrypto()->X509_get0_pubkey)
#define X509_get_subject_name		 (libcrypto()->X509_get_subject_name)
#endif

#endif
