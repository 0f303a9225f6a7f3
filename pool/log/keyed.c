/* SipHash-2-4 after its paper (Aumasson, Bernstein 2012): two rounds a word, four to close. */
#include "pool/log/keyed.h"

#include "base/le.h"

struct sip {
        uint64_t a, b, c, d;
};

static inline uint64_t rotl(uint64_t x, int n)
{
        return x << n | x >> (64 - n);
}

static inline void rounds(struct sip *s, int n)
{
        while (n--) {
                s->a += s->b;
                s->c += s->d;
                s->b = rotl(s->b, 13) ^ s->a;
                s->d = rotl(s->d, 16) ^ s->c;
                s->a = rotl(s->a, 32);
                s->c += s->b;
                s->a += s->d;
                s->b = rotl(s->b, 17) ^ s->c;
                s->d = rotl(s->d, 21) ^ s->a;
                s->c = rotl(s->c, 32);
        }
}

static inline void absorb(struct sip *s, uint64_t word)
{
        s->d ^= word;
        rounds(s, 2);
        s->a ^= word;
}

uint64_t keyed_sum(const uint8_t secret[KEYED_SECRET_BYTES], const void *buf, size_t len)
{
        uint64_t k0 = get_le64(secret), k1 = get_le64(secret + 8);
        struct sip s = {
            .a = k0 ^ UINT64_C(0x736f6d6570736575),
            .b = k1 ^ UINT64_C(0x646f72616e646f6d),
            .c = k0 ^ UINT64_C(0x6c7967656e657261),
            .d = k1 ^ UINT64_C(0x7465646279746573),
        };
        const uint8_t *p = buf;
        uint64_t last = (uint64_t)len << 56;

        for (size_t left = len; left >= 8; left -= 8, p += 8)
                absorb(&s, get_le64(p));
        for (size_t i = 0; i < len % 8; i++)
                last |= (uint64_t)p[i] << (8 * i);
        absorb(&s, last);
        s.c ^= 0xff;
        rounds(&s, 4);
        return s.a ^ s.b ^ s.c ^ s.d;
}
