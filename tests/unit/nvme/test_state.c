/* Saved controllers: round trip, parts, and everything that is refused. */
#include "t_nvme.h"

#include <errno.h>

static struct t_nvme t;
static uint8_t buf[4096];
static uint32_t dw0;

enum { C0 = 2, C1 = 3, SIZE = NVM_STATE_MAX, DWORDS = SIZE / 4 };

static uint16_t get(uint32_t csvi, uint32_t csuuidi, uint64_t offset, uint32_t dwords, uint8_t *to)
{
        return t_admin(&t, 0x42, 0,
                       (uint32_t[6]){csvi << 16, C0 | csuuidi << 16, (uint32_t)offset,
                                     (uint32_t)(offset >> 32), 0, dwords - 1},
                       to, dwords * 4, &dw0);
}

static uint16_t set(uint32_t seq, uint32_t index, uint64_t offset, const uint8_t *from,
                    uint32_t dwords)
{
        uint8_t *copy = malloc(dwords * 4 + 1); /* exact, for ASan */
        memcpy(copy, from, dwords * 4);
        uint16_t st = t_admin(&t, 0x41, 0,
                              (uint32_t[6]){2 | seq << 16, C0 | index << 16, (uint32_t)offset,
                                            (uint32_t)(offset >> 32), 0, dwords},
                              copy, dwords * 4, NULL);
        free(copy);
        return st;
}

static void begin(void)
{
        t_nvme_init(&t, 1 << 20);
        nvc_set_front_facts(t.c[0], &(struct nvm_front_facts){.offered_features = 0xff,
                                                              .negotiated_features = 0x0f,
                                                              .max_queues = 64,
                                                              .queues = 2});
        CU_ASSERT_EQUAL(t_suspend(&t, 0, false), 0);
        CU_ASSERT_EQUAL(get(1, 1, 0, DWORDS, buf), 0);
}

static void test_layout_of_the_structure(void)
{
        begin();
        CU_ASSERT_EQUAL(dw0, 1);
        CU_ASSERT_EQUAL(get_le16(buf), 0);
        CU_ASSERT_EQUAL(buf[2], 1);
        CU_ASSERT_EQUAL(get_le64(buf + 16), 2);
        CU_ASSERT_EQUAL(get_le64(buf + 24), 0);
        CU_ASSERT_EQUAL(get_le64(buf + 32), VENDOR_STATE_SIZE / 4);
        CU_ASSERT_EQUAL(get_le64(buf + 40), 0);
        CU_ASSERT_EQUAL(get_le64(buf + 48), 0); /* version 0, no queues */
        CU_ASSERT_EQUAL(get_le16(buf + 56), 1);
        CU_ASSERT_EQUAL(memcmp(buf + 64, nvc_uuid(t.c[0])->b, 16), 0);
        CU_ASSERT_EQUAL(get_le64(buf + 80), 1 << 20);
        CU_ASSERT_EQUAL(get_le64(buf + 88), 0x0f);
        CU_ASSERT_EQUAL(get_le16(buf + 96), 2);
        t_nvme_fini(&t);
}

static void test_parts_and_offsets_of_get(void)
{
        static uint8_t part[4096];
        begin();
        for (uint32_t at = 0; at < SIZE; at += 4) {
                memset(part, 0xee, 8);
                CU_ASSERT_EQUAL(get(1, 1, at, 1, part), 0);
                CU_ASSERT_EQUAL(memcmp(part, buf + at, 4), 0);
        }
        CU_ASSERT_EQUAL(get(1, 1, SIZE, 1, part), NVME_SC_INVALID_FIELD);
        CU_ASSERT_EQUAL(get(1, 1, 0, 1024, part), 0); /* past the end: zeroes */
        CU_ASSERT_EQUAL(memcmp(part, buf, SIZE), 0);
        CU_ASSERT_EQUAL(part[SIZE], 0);
        CU_ASSERT_EQUAL(get(1, 0, 0, 14, part), 0); /* without the vendor part */
        CU_ASSERT_EQUAL(get_le64(part + 32), 0);
        CU_ASSERT_EQUAL(get(0, 1, 0, 12, part), 0);
        CU_ASSERT_EQUAL(get_le64(part + 16), 0);
        CU_ASSERT_EQUAL(t_resume(&t, 0), 0);
        CU_ASSERT_EQUAL(get(1, 1, 0, DWORDS, part), 0); /* running: said so */
        CU_ASSERT_EQUAL(dw0, 0);
        CU_ASSERT_EQUAL(part[2], 0);
        t_nvme_fini(&t);
}

static void test_round_trip_in_one_part_and_in_many(void)
{
        begin();
        CU_ASSERT_EQUAL(set(3, 0x101, 0, buf, DWORDS), 0);
        CU_ASSERT_EQUAL(set(1, 0x101, 0, buf, 5), 0);
        CU_ASSERT_EQUAL(set(0, 0x101, 20, buf + 20, 10), 0);
        CU_ASSERT_EQUAL(t_resume(&t, 0), NVME_SC_SEQUENCE); /* half a state */
        CU_ASSERT_EQUAL(set(2, 0x101, 60, buf + 60, DWORDS - 15), 0);
        CU_ASSERT_EQUAL(set(1, 0x101, 56, buf + 56, DWORDS - 14), 0); /* any order */
        CU_ASSERT_EQUAL(set(0, 0x101, 0, buf, 14), 0);
        CU_ASSERT_EQUAL(set(2, 0x101, 0, buf, 0), 0); /* an empty last part */
        CU_ASSERT_EQUAL(set(1, 0x101, 0, buf, 3), 0);
        CU_ASSERT_EQUAL(set(3, 0x101, 0, buf, DWORDS), 0); /* discards the earlier parts */
        CU_ASSERT_EQUAL(t_resume(&t, 0), 0);
        CU_ASSERT_EQUAL(set(3, 0x101, 0, buf, DWORDS), 0); /* enabled, not suspended: allowed */
        t_nvme_fini(&t);
}

static void test_sequence_errors(void)
{
        begin();
        CU_ASSERT_EQUAL(set(0, 0x101, 0, buf, 4), NVME_SC_SEQUENCE);
        CU_ASSERT_EQUAL(set(2, 0x101, 0, buf, 4), NVME_SC_SEQUENCE);
        static const struct {
                uint32_t seq, index;
                uint64_t offset;
                uint32_t dwords;
        } bad[] = {
            {3, 0x101, 0, 0},
            {1, 0x101, 0, 0},
            {1, 0x101, 2, 1},
            {1, 0x101, NVM_STATE_CAP, 1},
            {1, 0x101, UINT64_C(1) << 32, 1},
            {1, 0x101, UINT64_MAX - 3, 1},
            {3, 0x000, 0, DWORDS},
            {3, 0x001, 0, DWORDS}, /* a vendor part and no UUID index */
            {3, 0x100, 0, DWORDS}, /* an NVMe part and no version index */
            {3, 0x201, 0, DWORDS},
            {3, 0x102, 0, DWORDS},
            {3, 0x101, 0, DWORDS - 1},
            {3, 0x101, 0, DWORDS + 1},
            {3, 0x101, 0, 11},
            {3, 0x101, 4, DWORDS},
        };
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                uint16_t st = set(bad[i].seq, bad[i].index, bad[i].offset, buf, bad[i].dwords);
                if (st != NVME_SC_INVALID_FIELD)
                        printf("\n    row %zu: %#x\n", i, st);
                CU_ASSERT_EQUAL(st, NVME_SC_INVALID_FIELD);
                CU_ASSERT_EQUAL(set(2, 0x101, 0, buf, 4), NVME_SC_SEQUENCE); /* all dropped */
        }
        CU_ASSERT_EQUAL(set(1, 0x101, 0, buf, 14), 0); /* a hole in the middle */
        CU_ASSERT_EQUAL(set(2, 0x101, 60, buf + 60, DWORDS - 15), NVME_SC_INVALID_FIELD);
        /* data shorter than the command says; far too long; nobody */
        CU_ASSERT_EQUAL(t_admin(&t, 0x41, 0,
                                (uint32_t[6]){2 | 3 << 16, C0 | 0x101 << 16, 0, 0, 0, 20}, buf, 79,
                                NULL),
                        NVME_SC_INVALID_FIELD);
        CU_ASSERT_EQUAL(t_admin(&t, 0x41, 0,
                                (uint32_t[6]){2 | 3 << 16, C0 | 0x101 << 16, 0, 0, 0, 0xffffffff},
                                buf, 4096, NULL),
                        NVME_SC_INVALID_FIELD);
        CU_ASSERT_EQUAL(t_admin(&t, 0x41, 0,
                                (uint32_t[6]){2 | 3 << 16, 1 | 0x101 << 16, 0, 0, 0, 4}, buf, 4096,
                                NULL),
                        NVME_SC_INVALID_CONTROLLER);
        CU_ASSERT_EQUAL(t_resume(&t, 0), 0); /* nothing staged is left */
        t_nvme_fini(&t);
}

static void test_every_flipped_byte_of_the_vendor_part_is_found(void)
{
        begin();
        for (uint32_t at = NVM_STATE_HEADER + NVM_STATE_NVME_SIZE; at < SIZE; at++) {
                buf[at] ^= 0x10;
                CU_ASSERT_EQUAL(set(3, 0x101, 0, buf, DWORDS), NVME_SC_INVALID_FIELD);
                buf[at] ^= 0x10;
        }
        CU_ASSERT_EQUAL(set(3, 0x101, 0, buf, DWORDS), 0);
        t_nvme_fini(&t);
}

static void test_facts_are_compared(void)
{
        struct nvm_state st, good;
        begin();
        CU_ASSERT_EQUAL_FATAL(nvm_state_decode(buf, SIZE, &good, NULL), 0);
#define REFUSED_WITH(change)                                                                       \
        do {                                                                                       \
                st = good;                                                                         \
                change;                                                                            \
                nvm_state_encode(&st, buf);                                                        \
                CU_ASSERT_EQUAL(set(3, 0x101, 0, buf, DWORDS), NVME_SC_INVALID_FIELD);             \
        } while (0)
        REFUSED_WITH(st.vendor.volume.b[3] ^= 1);
        REFUSED_WITH(st.vendor.size_bytes -= 512);
        REFUSED_WITH(st.vendor.sector_bytes = 4096);
        REFUSED_WITH(st.vendor.block_bytes = 512);
        REFUSED_WITH(st.vendor.features = 0x100);
        REFUSED_WITH(st.vendor.queues = 65);
#undef REFUSED_WITH
        st = good; /* what this side does not know is not compared */
        st.vendor.features = 0x100;
        st.vendor.queues = 65;
        nvm_state_encode(&st, buf);
        nvc_set_front_facts(t.c[0], &(struct nvm_front_facts){0});
        CU_ASSERT_EQUAL(set(3, 0x101, 0, buf, DWORDS), 0);
        t_nvme_fini(&t);
}

static void test_decode_refuses_what_it_cannot_be(void)
{
        struct nvm_state good = {.suspended = true, .has_nvme = true, .has_vendor = true}, out;
        static const struct {
                uint32_t at;
                uint8_t value;
                int rc;
        } rows[] = {
            {0, 1, -EPROTONOSUPPORT}, {1, 1, -EPROTONOSUPPORT}, {24, 1, -EFBIG},
            {31, 0x80, -EFBIG},       {40, 1, -EFBIG},          {23, 0x80, -EFBIG},
            {39, 0xff, -EFBIG},       {18, 1, -EFBIG},          {16, 3, -EBADMSG},
            {16, 1, -EBADMSG},        {32, 13, -EBADMSG},       {48, 1, -EPROTONOSUPPORT},
            {50, 1, -EBADMSG},        {53, 0xff, -EBADMSG},     {56, 2, -EPROTONOSUPPORT},
            {58, 60, -EBADMSG},
        };
        uint8_t b[NVM_STATE_MAX + 24];
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                CU_ASSERT_EQUAL(nvm_state_encode(&good, b), SIZE);
                b[rows[i].at] = rows[i].value;
                int rc = nvm_state_decode(b, SIZE, &out, NULL);
                if (rc != rows[i].rc)
                        printf("\n    row %zu: %d\n", i, rc);
                CU_ASSERT_EQUAL(rc, rows[i].rc);
        }
        nvm_state_encode(&good, b);
        for (size_t len = 0; len < SIZE; len++)
                CU_ASSERT_EQUAL(nvm_state_decode(b, len, &out, NULL), -EBADMSG);
        memset(b + SIZE, 0, 4);
        CU_ASSERT_EQUAL(nvm_state_decode(b, SIZE + 4, &out, NULL), -EBADMSG);
        /* a queue, consistently said: understood and not supported */
        memmove(b + 80, b + 56, VENDOR_STATE_SIZE);
        put_le64(b + 16, 8);
        put_le16(b + 50, 1);
        CU_ASSERT_EQUAL(nvm_state_decode(b, SIZE + 24, &out, NULL), -ENOTSUP);
        good.has_nvme = good.has_vendor = false;
        CU_ASSERT_EQUAL(nvm_state_encode(&good, b), NVM_STATE_HEADER);
        CU_ASSERT_EQUAL(nvm_state_decode(b, NVM_STATE_HEADER, &out, NULL), 0);
}

static const struct t_case cases[] = {
    T_CASE(test_layout_of_the_structure),
    T_CASE(test_parts_and_offsets_of_get),
    T_CASE(test_round_trip_in_one_part_and_in_many),
    T_CASE(test_sequence_errors),
    T_CASE(test_every_flipped_byte_of_the_vendor_part_is_found),
    T_CASE(test_facts_are_compared),
    T_CASE(test_decode_refuses_what_it_cannot_be),
};
T_MAIN("controller state", cases)
