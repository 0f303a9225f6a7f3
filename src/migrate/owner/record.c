/* Encoding and decoding of ownership records and token texts, see record.h.
 *
 * Decoding takes nothing on trust: the bytes come from disk. Every count and length is bounded by
 * its array before it is used, unknown bits are refused (a newer writer raises the version), and
 * what follows the last table must be nothing.
 */
#include "migrate/owner/record.h"

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/le.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { VERSION = 1, FIXED = 96, FLAG_EVICTABLE = 1 };

static const uint8_t magic[4] = {'Z', 'P', 'o', 'w'};

static const char *const state_names[] = {
    [OWNER_NONE] = "NONE",     [OWNER_ACTIVE] = "ACTIVE",   [OWNER_GIVEN] = "GIVEN",
    [OWNER_STAGED] = "STAGED", [OWNER_OWNED] = "OWNED",     [OWNER_REFUSED] = "REFUSED",
    [OWNER_TOMB] = "TOMB",     [OWNER_OFFERED] = "OFFERED", [OWNER_SUSPENDED] = "SUSPENDED",
};
_Static_assert(ARRAY_SIZE(state_names) == OWNER_NSTATES, "a name for every state");
/* The largest record has to fit what a pool keeps. */
_Static_assert(FIXED + OWNER_MAX_POOLS * OWNER_POOL_NAME + OWNER_MAX_HOSTS * (17 + OWNER_ADDRESS) +
                       OWNER_MAX_VOLUMES * 25 <=
                   OWNER_RECORD_MAX,
               "a full record fits");

const char *owner_state_name(enum owner_state state)
{
        return (unsigned)state < OWNER_NSTATES ? state_names[state] : "?";
}

static uint8_t *put_text(uint8_t *p, const char *text, size_t cap)
{
        size_t len = strnlen(text, cap);

        assert(len < cap);
        *p++ = (uint8_t)len;
        memcpy(p, text, len);
        return p + len;
}

size_t owner_record_encode(const struct owner_record *rec, uint8_t buf[OWNER_RECORD_MAX])
{
        uint8_t *p = buf + FIXED;

        assert(rec->state >= OWNER_ACTIVE && rec->state <= OWNER_TOMB);
        assert(rec->nvolumes <= OWNER_MAX_VOLUMES && rec->npools <= OWNER_MAX_POOLS &&
               rec->nhosts <= OWNER_MAX_HOSTS);
        memset(buf, 0, OWNER_RECORD_MAX);
        memcpy(buf, magic, sizeof(magic));
        put_le16(buf + 4, VERSION);
        buf[12] = (uint8_t)rec->state;
        buf[13] = (uint8_t)rec->origin;
        buf[14] = rec->evictable ? FLAG_EVICTABLE : 0;
        buf[15] = rec->nvolumes;
        buf[16] = rec->npools;
        buf[17] = rec->nhosts;
        put_le32(buf + 20, rec->qemu_pid);
        put_le64(buf + 24, rec->qemu_start);
        memcpy(buf + 32, rec->boot_id.b, 16);
        put_le64(buf + 48, rec->epoch);
        memcpy(buf + 56, rec->token.b, 16);
        put_le64(buf + 72, rec->token.incarnation);
        memcpy(buf + 80, rec->domain.b, 16);
        for (unsigned i = 0; i < rec->npools; i++)
                p = put_text(p, rec->pools[i], OWNER_POOL_NAME);
        for (unsigned i = 0; i < rec->nhosts; i++) {
                memcpy(p, rec->hosts[i].uuid.b, 16);
                p = put_text(p + 16, rec->hosts[i].address, OWNER_ADDRESS);
        }
        for (unsigned i = 0; i < rec->nvolumes; i++) {
                assert(rec->volumes[i].pool < rec->npools);
                memcpy(p, rec->volumes[i].uuid.b, 16);
                put_le64(p + 16, rec->volumes[i].epoch_before);
                p[24] = rec->volumes[i].pool;
                p += 25;
        }
        size_t len = (size_t)(p - buf);
        put_le16(buf + 6, (uint16_t)len);
        put_le32(buf + 8, crc32c(0, buf, len));
        return len;
}

/* What is left to read. Every take_ function fails when there is too little. */
struct reader {
        const uint8_t *p;
        size_t left;
};

static bool take(struct reader *r, void *out, size_t len)
{
        if (r->left < len)
                return false;
        memcpy(out, r->p, len);
        r->p += len;
        r->left -= len;
        return true;
}

/* Text of printable characters without quotes, so that it can be shown and put in a log as it is.
 */
static bool take_text(struct reader *r, char *out, size_t cap, size_t min)
{
        uint8_t len;

        if (!take(r, &len, 1) || len < min || len >= cap || !take(r, out, len))
                return false;
        out[len] = '\0';
        for (unsigned i = 0; i < len; i++)
                if (out[i] <= ' ' || out[i] > '~' || out[i] == '"' || out[i] == '\\')
                        return false;
        return true;
}

static bool take_tables(struct reader *r, struct owner_record *rec)
{
        uint8_t raw[25];

        for (unsigned i = 0; i < rec->npools; i++)
                if (!take_text(r, rec->pools[i], OWNER_POOL_NAME, 1))
                        return false;
        for (unsigned i = 0; i < rec->nhosts; i++)
                if (!take(r, rec->hosts[i].uuid.b, 16) ||
                    !take_text(r, rec->hosts[i].address, OWNER_ADDRESS, 0))
                        return false;
        for (unsigned i = 0; i < rec->nvolumes; i++) {
                if (!take(r, raw, sizeof(raw)) || raw[24] >= rec->npools)
                        return false;
                memcpy(rec->volumes[i].uuid.b, raw, 16);
                rec->volumes[i].epoch_before = get_le64(raw + 16);
                rec->volumes[i].pool = raw[24];
        }
        return r->left == 0;
}

static bool crc_fits(const uint8_t *buf, size_t len)
{
        static const uint8_t zero[4];
        uint32_t crc = crc32c(0, buf, 8);

        crc = crc32c(crc, zero, sizeof(zero));
        crc = crc32c(crc, buf + 12, len - 12);
        return crc == get_le32(buf + 8);
}

int owner_record_decode(const void *bytes, size_t len, struct owner_record *ret_rec,
                        struct err *err)
{
        const uint8_t *buf = bytes;
        struct owner_record rec = {0};

        if (len < FIXED || len > OWNER_RECORD_MAX || memcmp(buf, magic, sizeof(magic)) != 0)
                return err_set(err, EBADMSG, "the ownership record is not one");
        if (get_le16(buf + 4) > VERSION)
                return err_set(
                    err, EPROTONOSUPPORT,
                    "the ownership record has version %u, this zonepoold knows up to %d: "
                    "use a newer one",
                    get_le16(buf + 4), VERSION);
        if (get_le16(buf + 4) != VERSION || get_le16(buf + 6) != len || !crc_fits(buf, len))
                return err_set(err, EBADMSG, "the ownership record is damaged");
        rec.state = (enum owner_state)buf[12];
        rec.origin = (enum owner_origin)buf[13];
        rec.evictable = buf[14] & FLAG_EVICTABLE;
        rec.nvolumes = buf[15];
        rec.npools = buf[16];
        rec.nhosts = buf[17];
        rec.qemu_pid = get_le32(buf + 20);
        rec.qemu_start = get_le64(buf + 24);
        memcpy(rec.boot_id.b, buf + 32, 16);
        rec.epoch = get_le64(buf + 48);
        memcpy(rec.token.b, buf + 56, 16);
        rec.token.incarnation = get_le64(buf + 72);
        memcpy(rec.domain.b, buf + 80, 16);

        struct reader r = {buf + FIXED, len - FIXED};
        if (rec.state < OWNER_ACTIVE || rec.state > OWNER_TOMB || rec.origin > OWNER_ORIGIN_BACK ||
            (buf[14] & ~FLAG_EVICTABLE) || get_le16(buf + 18) || rec.nvolumes > OWNER_MAX_VOLUMES ||
            rec.npools > OWNER_MAX_POOLS || rec.nhosts > OWNER_MAX_HOSTS || !take_tables(&r, &rec))
                return err_set(err, EBADMSG, "the ownership record makes no sense");
        *ret_rec = rec;
        return 0;
}

size_t owner_record_initial(uint8_t buf[OWNER_RECORD_MAX])
{
        struct owner_record rec = {.state = OWNER_ACTIVE, .epoch = 1};
        return owner_record_encode(&rec, buf);
}

void owner_token_format(const struct owner_token *t, uint64_t seq, char text[OWNER_TOKEN_TEXT])
{
        char hex[33];

        for (int i = 0; i < 16; i++)
                snprintf(hex + 2 * i, 3, "%02x", t->b[i]);
        snprintf(text, OWNER_TOKEN_TEXT, "zp1:%s:%" PRIx64 ":%x", hex, t->incarnation,
                 (unsigned)(seq & UINT32_MAX));
}

/* 1..max lower-case hex digits; returns what follows, or NULL. */
static const char *parse_hex(const char *p, int max, uint64_t *ret)
{
        uint64_t v = 0;
        int n = 0;

        for (; n < max; n++, p++) {
                if (*p >= '0' && *p <= '9')
                        v = v << 4 | (uint64_t)(*p - '0');
                else if (*p >= 'a' && *p <= 'f')
                        v = v << 4 | (uint64_t)(*p - 'a' + 10);
                else
                        break;
        }
        *ret = v;
        return n ? p : NULL;
}

int owner_token_parse(const char *text, struct owner_token *ret_token, uint64_t *ret_seq)
{
        struct owner_token t;
        uint64_t v;
        const char *p = text;

        if (strnlen(text, OWNER_TOKEN_TEXT) >= OWNER_TOKEN_TEXT || strncmp(p, "zp1:", 4) != 0)
                return -EINVAL;
        p += 4;
        for (int i = 0; i < 16; i++) {
                const char *q = parse_hex(p, 2, &v);
                if (!q || q - p != 2)
                        return -EINVAL;
                t.b[i] = (uint8_t)v;
                p = q;
        }
        if (*p++ != ':' || !(p = parse_hex(p, 16, &t.incarnation)) || *p++ != ':' ||
            !(p = parse_hex(p, 8, &v)) || *p)
                return -EINVAL;
        *ret_token = t;
        if (ret_seq)
                *ret_seq = v;
        return 0;
}
