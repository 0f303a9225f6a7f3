/* The peer protocol's frames: how two daemons talk (docs/migration.md).
 *
 * Every frame, little-endian:
 *
 *   offset size meaning
 *        0    4 magic "ZPmp"
 *        4    2 version (3)
 *        6    2 type
 *        8    4 length of the body, 0..PEER_BODY_MAX
 *       12    4 CRC32C of the body
 *       16    4 CRC32C of the 16 bytes before
 *
 * Bodies. A token is 16 bytes + 8 incarnation; text is 1 length byte + bytes; "member" is 16 UUID +
 * 8 epoch + 1 pool index.
 *
 *   HELLO    16 host UUID, 8 incarnation, text address (where it listens, "" none)
 *   WHO_HAS  8 request, 16 domain UUID
 *   HAS      8 request, 1 found; then if found: token, 1 npools, 1 nvolumes, 1 nholders, npools
 *            texts, nvolumes times (member, 8 size, 8 allocated bytes, 8 reserved bytes, 1 copies
 *            1..3, text name), nholders times (16 UUID, text address)
 *   OWNER    1 kind, token, 8 seq, 1 nvolumes, text pool ("" none), nvolumes members
 *   OPEN     token, 8 session: send me the data; the session of before goes on where it stood (what
 *            was not acknowledged, again), another one begins with everything
 *   ACK      token, 8 chunk: it and nothing else is written
 *   DATA     token, 8 chunk, 1 volume index, 1 zero, 2 nsegments (1..128), segments of 8 first
 *            block, 4 blocks, 4 kind (0 data, 1 zeroes); then the data of the segments of kind 0
 *   PROGRESS token, 8 remaining bytes, 8 total bytes, 4 passes, 1 everything is mapped
 *   DELTA    token, 8 seq, 1 nvolumes, each 2 length (0..512) + saved controller state
 *   FAIL     token, 4 errno, text reason
 *   PING     nothing; answered with PONG
 *
 * Every number is checked on decoding; a frame that breaks a rule ends the connection.
 * Threads: any; decoding does not allocate.
 */
#ifndef ZONEPOOL_MIGRATE_PEER_PROTO_H
#define ZONEPOOL_MIGRATE_PEER_PROTO_H

#include "migrate/owner/owner.h"
#include "pool/pool.h"

enum {
        PEER_VERSION = 3,
        PEER_HEADER = 20,
        PEER_BLOCK = 4096,
        PEER_MAX_SEGMENTS = 128,
        PEER_CHUNK_BLOCKS = 128, /* most blocks of a DATA frame, zeroes included */
        PEER_DATA_FIXED = 36,
        PEER_SEGMENT = 16,
        PEER_STATE_MAX = 512,
        PEER_TEXT_MAX = 255,
        PEER_BODY_MAX =
            PEER_DATA_FIXED + PEER_MAX_SEGMENTS * PEER_SEGMENT + PEER_CHUNK_BLOCKS * PEER_BLOCK,
};

enum peer_type {
        PEER_HELLO = 1,
        PEER_WHO_HAS,
        PEER_HAS,
        PEER_OWNER,
        PEER_OPEN,
        PEER_ACK,
        PEER_DATA,
        PEER_PROGRESS,
        PEER_DELTA,
        PEER_FAIL,
        PEER_PING,
        PEER_PONG,
        PEER_NTYPES,
};

struct peer_offer_volume {
        struct owner_member member;
        uint64_t size_bytes, allocated_bytes, reserved_bytes;
        uint8_t copies;
        char name[VOLUME_NAME_MAX + 1];
};

struct peer_offer {
        struct owner_token token;
        uint8_t npools, nvolumes, nholders;
        char pools[OWNER_MAX_POOLS][OWNER_POOL_NAME];
        struct peer_offer_volume volumes[OWNER_MAX_VOLUMES];
        struct owner_host holders[OWNER_MAX_HOSTS];
};

struct peer_segment {
        uint64_t block;
        uint32_t nblocks;
        bool zero;
};

/* A decoded frame. Pointers point into the body. */
struct peer_frame {
        enum peer_type type;
        struct owner_token token; /* OPEN, ACK, DATA, PROGRESS, DELTA, FAIL */
        union {
                struct {
                        struct uuid host;
                        uint64_t incarnation;
                        char address[OWNER_ADDRESS];
                } hello;
                struct {
                        uint64_t request;
                        struct uuid domain;
                } who_has;
                struct {
                        uint64_t request;
                        bool found;
                        struct peer_offer offer;
                } has;
                struct owner_msg owner;
                struct {
                        uint64_t session;
                } open;
                struct {
                        uint64_t chunk;
                } ack;
                struct {
                        uint64_t chunk;
                        uint8_t volume;
                        uint16_t nsegments;
                        struct peer_segment segments[PEER_MAX_SEGMENTS];
                        const uint8_t *payload;
                        size_t payload_len;
                } data;
                struct {
                        uint64_t remaining_bytes, total_bytes;
                        uint32_t passes;
                        bool mapped;
                } progress;
                struct {
                        uint64_t seq;
                        uint8_t nvolumes;
                        struct {
                                const uint8_t *state;
                                uint16_t len;
                        } v[OWNER_MAX_VOLUMES];
                } delta;
                struct {
                        int code; /* positive errno */
                        char text[PEER_TEXT_MAX + 1];
                } fail;
        };
};

/* Returns a malloc'ed whole frame and its length, or NULL (no memory). The content is the caller's
 * own: out of bounds is a programming error. */
uint8_t *peer_encode(const struct peer_frame *f, size_t *ret_len);

/* The header. Returns 0 and type and length of the body, or -EPROTO, -EPROTONOSUPPORT. */
int peer_decode_header(const uint8_t header[PEER_HEADER], enum peer_type *ret_type,
                       uint32_t *ret_body_len);
/* The body that belongs to it. Returns 0 or -EPROTO. */
int peer_decode_body(const uint8_t header[PEER_HEADER], const uint8_t *body,
                     struct peer_frame *ret_frame);

#endif
