/* Arithmetic on sizes from outside: every add, multiply and rounding that could wrap says so. */
#ifndef VMKIT_BASE_CHECKED_H
#define VMKIT_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** u64_add() - Return: true and *@ret_sum, or false when a + b does not fit */
static inline bool u64_add(uint64_t a, uint64_t b, uint64_t *ret_sum)
{
	return !__builtin_add_overflow(a, b, ret_sum);
}

/** u64_mul() - Return: true and *@ret_product, or false when a * b does not fit */
static inline bool u64_mul(uint64_t a, uint64_t b, uint64_t *ret_product)
{
	return !__builtin_mul_overflow(a, b, ret_product);
}

/** size_mul() - Return: true and *@ret_product, or false when a * b does not fit a size_t */
static inline bool size_mul(size_t a, size_t b, size_t *ret_product)
{
	return !__builtin_mul_overflow(a, b, ret_product);
}

/** range_inside() - true when [off, off + len) lies in [0, size), with no wrap */
static inline bool range_inside(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/** log2_u64() - position of the highest bit; @v must not be 0 */
static inline unsigned log2_u64(uint64_t v)
{
	return 63U - (unsigned)__builtin_clzll(v);
}

/** round_down() - @align is a power of two */
static inline uint64_t round_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

/** round_up() - @align is a power of two; v + align must fit: for values already bounded */
static inline uint64_t round_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

/** u64_round_up() - as round_up() for values from outside; Return: false when it wraps */
static inline bool u64_round_up(uint64_t v, uint64_t align, uint64_t *ret)
{
	uint64_t t;

	if (!u64_add(v, align - 1, &t))
		return false;
	*ret = t & ~(align - 1);
	return true;
}

/** div_up() - ceiling division, no wrap; @d is not 0 */
static inline uint64_t div_up(uint64_t v, uint64_t d)
{
	return v / d + (v % d != 0);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
