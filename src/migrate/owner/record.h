/* The ownership record of a volume: what the pool keeps for us, opaque, beside the volume's name.
 *
 * One record a volume; all volumes of one token name the whole list, so that a crash between the
 * atomic writes of several pools can be resolved at start (owner_resolve.h).
 *
 * Format, little-endian, OWNER_RECORD_MAX bytes at most, tables packed one behind the other:
 *
 *   offset size meaning
 *        0    4 magic "ZPow"
 *        4    2 version (1)
 *        6    2 length of the whole record, these fields included
 *        8    4 CRC32C of the record with this field 0
 *       12    1 state: 1 ACTIVE 2 GIVEN 3 STAGED 4 OWNED 5 REFUSED 6 TOMB
 *       13    1 origin of ACTIVE: 0 none, 1 taken by token, 2 given back for token
 *       14    1 flags: bit 0 evictable (the new owner has reported ACTIVE and flushed)
 *       15    1 nvolumes, 0..32
 *       16    1 npools, 0..8
 *       17    1 nhosts, 0..8; the first is the peer of the state (GIVEN: target, STAGED, OWNED,
 *               REFUSED: source), all of them hold or held a copy
 *       18    2 reserved, 0
 *       20    4 pid of the QEMU that took (OWNED), 0 unknown
 *       24    8 its start time, clock ticks since boot (/proc/PID/stat, field 22)
 *       32   16 boot id of the host when it took
 *       48    8 epoch of this volume
 *       56   16 token
 *       72    8 incarnation of the daemon that minted the token
 *       80   16 domain UUID
 *       96      npools times: 1 length L (1..63), L bytes of pool name
 *               nhosts times: 16 host UUID, 1 length L (0..47), L bytes of address "host:port"
 *               nvolumes times: 16 volume UUID, 8 epoch before the token's hand-over, 1 pool index
 *
 * Threads: any; nothing here allocates.
 */
#ifndef ZONEPOOL_MIGRATE_OWNER_RECORD_H
#define ZONEPOOL_MIGRATE_OWNER_RECORD_H

#include "base/err.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        OWNER_RECORD_MAX = 2048,
        OWNER_MAX_VOLUMES = 32,
        OWNER_MAX_POOLS = 8,
        OWNER_MAX_HOSTS = 8,
        OWNER_POOL_NAME = 64, /* with NUL */
        OWNER_ADDRESS = 48, /* with NUL */
        OWNER_TOKEN_TEXT = 64,
};

enum owner_state {
        OWNER_NONE, /* no record: the volume is not here */
        OWNER_ACTIVE,
        OWNER_GIVEN,
        OWNER_STAGED,
        OWNER_OWNED,
        OWNER_REFUSED,
        OWNER_TOMB,
        /* never on disk: ACTIVE with a live token */
        OWNER_OFFERED,
        OWNER_SUSPENDED,
        OWNER_NSTATES,
};

enum owner_origin { OWNER_ORIGIN_NONE, OWNER_ORIGIN_TAKEN, OWNER_ORIGIN_BACK };

/* Names one offer of one domain's volumes. Minted at random, so it is never used twice. */
struct owner_token {
        uint8_t b[16];
        uint64_t incarnation; /* of the source's daemon */
};

struct owner_host {
        struct uuid uuid;
        char address[OWNER_ADDRESS]; /* "host:port", empty when unknown */
};

struct owner_member {
        struct uuid uuid;
        uint64_t epoch_before; /* the volume's epoch when the token was minted */
        uint8_t pool; /* index into pools */
};

struct owner_record {
        enum owner_state state; /* ACTIVE..TOMB */
        enum owner_origin origin;
        bool evictable;
        uint8_t nvolumes, npools, nhosts;
        uint32_t qemu_pid;
        uint64_t qemu_start;
        struct uuid boot_id;
        uint64_t epoch;
        struct owner_token token;
        struct uuid domain;
        char pools[OWNER_MAX_POOLS][OWNER_POOL_NAME];
        struct owner_host hosts[OWNER_MAX_HOSTS];
        struct owner_member volumes[OWNER_MAX_VOLUMES];
};

/* Returns the length written to buf. The record is the caller's own: out of bounds is a programming
 * error. */
size_t owner_record_encode(const struct owner_record *rec, uint8_t buf[OWNER_RECORD_MAX]);
/* Bytes from disk. -EBADMSG with text: not a record of ours, or damaged; -EPROTONOSUPPORT a newer
 * version. */
int owner_record_decode(const void *buf, size_t len, struct owner_record *ret_rec, struct err *err);

/* What a new volume starts with: ACTIVE(1). Returns its length. */
size_t owner_record_initial(uint8_t buf[OWNER_RECORD_MAX]);

static inline bool owner_token_equal(const struct owner_token *a, const struct owner_token *b)
{
        return memcmp(a->b, b->b, sizeof(a->b)) == 0 && a->incarnation == b->incarnation;
}

/* "zp1:TOKEN:INCARNATION:SEQ" in hex, of [A-Za-z0-9:]: the text libvirt carries as lock state. */
void owner_token_format(const struct owner_token *t, uint64_t seq, char text[OWNER_TOKEN_TEXT]);
/* Returns 0 or -EINVAL. ret_seq may be NULL. */
int owner_token_parse(const char *text, struct owner_token *ret_token, uint64_t *ret_seq);

/* "ACTIVE", "GIVEN", ... Never NULL. */
const char *owner_state_name(enum owner_state state);

#endif
