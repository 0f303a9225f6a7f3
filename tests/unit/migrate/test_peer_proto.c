/* Frames of the peer protocol: what is sent arrives, every limit at its maximum and one beyond. */
#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/le.h"
#include "migrate/peer/proto.h"
#include "t_suite.h"

#include <errno.h>

static const struct owner_token token = {{9, 8, 7}, 77};
static struct peer_frame out;

/* Encodes and decodes; the bytes stay in *ret_bytes until freed. */
static int round_trip(const struct peer_frame *in, uint8_t **ret_bytes)
{
        size_t len;
        uint8_t *bytes = peer_encode(in, &len);
        enum peer_type type;
        uint32_t body;

        CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
        CU_ASSERT_EQUAL(peer_decode_header(bytes, &type, &body), 0);
        CU_ASSERT_EQUAL(type, in->type);
        CU_ASSERT_EQUAL(len, PEER_HEADER + (size_t)body);
        *ret_bytes = bytes;
        return peer_decode_body(bytes, bytes + PEER_HEADER, &out);
}

static void test_every_small_frame_comes_back(void)
{
        static const enum peer_type types[] = {PEER_HELLO,    PEER_WHO_HAS, PEER_OPEN, PEER_ACK,
                                               PEER_PROGRESS, PEER_FAIL,    PEER_PING, PEER_PONG};

        for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
                struct peer_frame f = {.type = types[i], .token = token};
                uint8_t *bytes;

                if (f.type == PEER_HELLO) {
                        f.hello.host.b[3] = 4;
                        f.hello.incarnation = 5;
                        strcpy(f.hello.address, "192.0.2.1:7480");
                } else if (f.type == PEER_FAIL) {
                        f.fail.code = ENOSPC;
                        strcpy(f.fail.text, "the pool is full");
                } else if (f.type == PEER_ACK) {
                        f.ack.chunk = UINT64_MAX;
                } else if (f.type == PEER_PROGRESS) {
                        f.progress.remaining_bytes = 1;
                        f.progress.total_bytes = 2;
                        f.progress.passes = 3;
                        f.progress.mapped = true;
                }
                CU_ASSERT_EQUAL(round_trip(&f, &bytes), 0);
                if (f.type == PEER_HELLO) {
                        CU_ASSERT_STRING_EQUAL(out.hello.address, "192.0.2.1:7480");
                        CU_ASSERT_EQUAL(out.hello.incarnation, 5);
                } else if (f.type == PEER_FAIL) {
                        CU_ASSERT_EQUAL(out.fail.code, ENOSPC);
                        CU_ASSERT_STRING_EQUAL(out.fail.text, "the pool is full");
                } else if (f.type == PEER_ACK) {
                        CU_ASSERT_EQUAL(out.ack.chunk, UINT64_MAX);
                        CU_ASSERT_TRUE(owner_token_equal(&out.token, &token));
                } else if (f.type == PEER_PROGRESS) {
                        CU_ASSERT_EQUAL(out.progress.passes, 3);
                        CU_ASSERT_TRUE(out.progress.mapped);
                }
                free(bytes);
        }
}

static struct peer_frame full_offer(void)
{
        struct peer_frame f = {.type = PEER_HAS};
        struct peer_offer *o = &f.has.offer;

        f.has.request = 3;
        f.has.found = true;
        o->token = token;
        o->npools = OWNER_MAX_POOLS;
        o->nvolumes = OWNER_MAX_VOLUMES;
        o->nholders = OWNER_MAX_HOSTS;
        for (int i = 0; i < OWNER_MAX_POOLS; i++)
                memset(o->pools[i], 'p', OWNER_POOL_NAME - 1);
        for (int i = 0; i < OWNER_MAX_VOLUMES; i++) {
                struct peer_offer_volume *v = &o->volumes[i];
                v->member = (struct owner_member){{{1, (uint8_t)i}}, 1, i % OWNER_MAX_POOLS};
                v->size_bytes = VOLUME_MAX_BYTES;
                v->allocated_bytes = 4096;
                v->reserved_bytes = 512;
                v->copies = (uint8_t)(1 + i % 3);
                memset(v->name, 'v', VOLUME_NAME_MAX);
        }
        for (int i = 0; i < OWNER_MAX_HOSTS; i++) {
                o->holders[i].uuid.b[0] = (uint8_t)(i + 1);
                memset(o->holders[i].address, '1', OWNER_ADDRESS - 1);
        }
        return f;
}

static void test_the_largest_offer_comes_back_and_nonsense_in_one_is_refused(void)
{
        struct peer_frame f = full_offer();
        uint8_t *bytes;

        CU_ASSERT_EQUAL(round_trip(&f, &bytes), 0);
        CU_ASSERT_EQUAL(
            memcmp(out.has.offer.volumes, f.has.offer.volumes, sizeof(f.has.offer.volumes)), 0);
        free(bytes);
        f.has.offer.volumes[3].size_bytes = VOLUME_MAX_BYTES + 512;
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
        f = full_offer();
        f.has.offer.volumes[3].size_bytes = 513;
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
        f = full_offer();
        f.has.offer.volumes[3].reserved_bytes = VOLUME_MAX_BYTES + 512;
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
        for (uint8_t none = 0; none <= 4; none += 4) {
                f = full_offer();
                f.has.offer.volumes[3].copies = none;
                CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
                free(bytes);
        }
        f = full_offer();
        f.has.offer.volumes[3].member.epoch_before = UINT64_MAX;
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
        f = full_offer();
        f.has.offer.volumes[3].member.pool = OWNER_MAX_POOLS;
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
        f = full_offer();
        f.has.offer.volumes[3].member.uuid = f.has.offer.volumes[2].member.uuid;
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
        f = full_offer();
        strcpy(f.has.offer.volumes[3].name, "../../etc/passwd");
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
}

static void test_messages_of_ownership_come_back(void)
{
        struct peer_frame f = {.type = PEER_OWNER};
        uint8_t *bytes;

        f.owner = (struct owner_msg){
            .kind = OWNER_MSG_TAKE, .token = token, .seq = 4, .nvolumes = OWNER_MAX_VOLUMES};
        strcpy(f.owner.pool, "tank");
        for (int i = 0; i < OWNER_MAX_VOLUMES; i++)
                f.owner.volumes[i].epoch_before = (uint64_t)i;
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), 0);
        CU_ASSERT_EQUAL(out.owner.kind, OWNER_MSG_TAKE);
        CU_ASSERT_EQUAL(out.owner.seq, 4);
        CU_ASSERT_EQUAL(out.owner.volumes[31].epoch_before, 31);
        CU_ASSERT_STRING_EQUAL(out.owner.pool, "tank");
        free(bytes);
        f.owner.kind = OWNER_MSG_DELTA; /* travels as a frame of its own */
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
}

static void test_data_comes_back_and_must_fit_its_segments(void)
{
        static uint8_t payload[PEER_CHUNK_BLOCKS * PEER_BLOCK];
        struct peer_frame f = {.type = PEER_DATA, .token = token};
        uint8_t *bytes;

        memset(payload, 0x5a, sizeof(payload));
        f.data.chunk = 1;
        f.data.volume = 2;
        f.data.nsegments = 2;
        f.data.segments[0] = (struct peer_segment){100, 3, false};
        f.data.segments[1] = (struct peer_segment){103, 125, true};
        f.data.payload = payload;
        f.data.payload_len = 3 * PEER_BLOCK;
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), 0);
        CU_ASSERT_EQUAL(out.data.payload_len, 3 * PEER_BLOCK);
        CU_ASSERT_EQUAL(out.data.payload[0], 0x5a);
        CU_ASSERT_TRUE(out.data.segments[1].zero);
        free(bytes);
        f.data.payload_len = 4 * PEER_BLOCK; /* more than the segments say */
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
        f.data.payload_len = 3 * PEER_BLOCK;
        f.data.segments[1].nblocks = 126; /* one block more than a chunk has */
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
        f.data.segments[1] = (struct peer_segment){VOLUME_MAX_BYTES / PEER_BLOCK, 1, true};
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), -EPROTO);
        free(bytes);
        f.data.nsegments = 1;
        f.data.segments[0].nblocks = PEER_CHUNK_BLOCKS;
        f.data.payload_len = sizeof(payload);
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), 0);
        free(bytes);
}

static void test_deltas_carry_the_states(void)
{
        uint8_t state[PEER_STATE_MAX], *bytes;
        struct peer_frame f = {.type = PEER_DELTA, .token = token};

        memset(state, 7, sizeof(state));
        f.delta.seq = 3;
        f.delta.nvolumes = OWNER_MAX_VOLUMES;
        for (int i = 0; i < OWNER_MAX_VOLUMES; i++) {
                f.delta.v[i].state = state;
                f.delta.v[i].len = (uint16_t)(PEER_STATE_MAX - i);
        }
        CU_ASSERT_EQUAL(round_trip(&f, &bytes), 0);
        CU_ASSERT_EQUAL(out.delta.v[31].len, PEER_STATE_MAX - 31);
        CU_ASSERT_EQUAL(out.delta.v[31].state[0], 7);
        free(bytes);
}

static void test_headers_are_checked_before_anything_is_allocated(void)
{
        struct peer_frame f = {.type = PEER_OPEN, .token = token};
        enum peer_type type;
        uint32_t body;
        size_t len;
        uint8_t *bytes = peer_encode(&f, &len);

        for (size_t i = 0; i < PEER_HEADER; i++) {
                bytes[i] ^= 0x10;
                CU_ASSERT_TRUE(peer_decode_header(bytes, &type, &body) < 0);
                bytes[i] ^= 0x10;
        }
        put_le32(bytes + 8, PEER_BODY_MAX + 1);
        put_le32(bytes + 16, crc32c(0, bytes, 16));
        CU_ASSERT_EQUAL(peer_decode_header(bytes, &type, &body), -EPROTO);
        put_le32(bytes + 8, PEER_BODY_MAX);
        put_le32(bytes + 16, crc32c(0, bytes, 16));
        CU_ASSERT_EQUAL(peer_decode_header(bytes, &type, &body), 0);
        put_le16(bytes + 4, PEER_VERSION + 1);
        put_le32(bytes + 16, crc32c(0, bytes, 16));
        CU_ASSERT_EQUAL(peer_decode_header(bytes, &type, &body), -EPROTONOSUPPORT);
        free(bytes);
}

static void test_a_damaged_body_is_refused(void)
{
        struct peer_frame f = full_offer();
        size_t len;
        uint8_t *bytes = peer_encode(&f, &len);

        for (size_t i = PEER_HEADER; i < len; i += 7) {
                bytes[i] ^= 1;
                CU_ASSERT_EQUAL(peer_decode_body(bytes, bytes + PEER_HEADER, &out), -EPROTO);
                bytes[i] ^= 1;
        }
        free(bytes);
}

static const struct t_case cases[] = {
    T_CASE(test_every_small_frame_comes_back),
    T_CASE(test_the_largest_offer_comes_back_and_nonsense_in_one_is_refused),
    T_CASE(test_messages_of_ownership_come_back),
    T_CASE(test_data_comes_back_and_must_fit_its_segments),
    T_CASE(test_deltas_carry_the_states),
    T_CASE(test_headers_are_checked_before_anything_is_allocated),
    T_CASE(test_a_damaged_body_is_refused),
};
T_MAIN("peer protocol", cases)
