/* Ownership records and token texts: what is written is read, and what was damaged is not. */
#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/le.h"
#include "migrate/owner/record.h"
#include "t_suite.h"

#include <errno.h>

static struct owner_record full(void)
{
        struct owner_record r = {
            .state = OWNER_GIVEN,
            .origin = OWNER_ORIGIN_NONE,
            .evictable = true,
            .nvolumes = OWNER_MAX_VOLUMES,
            .npools = OWNER_MAX_POOLS,
            .nhosts = OWNER_MAX_HOSTS,
            .qemu_pid = 4711,
            .qemu_start = 123456789,
            .boot_id = {{7}},
            .epoch = 99,
            .token = {{1, 2, 3}, 55},
            .domain = {{8}},
        };
        for (unsigned i = 0; i < OWNER_MAX_POOLS; i++)
                memset(r.pools[i], 'a' + (int)i, OWNER_POOL_NAME - 1);
        for (unsigned i = 0; i < OWNER_MAX_HOSTS; i++) {
                r.hosts[i].uuid.b[0] = (uint8_t)(i + 1);
                memset(r.hosts[i].address, '0' + (int)i, OWNER_ADDRESS - 1);
        }
        for (unsigned i = 0; i < OWNER_MAX_VOLUMES; i++) {
                r.volumes[i].uuid.b[15] = (uint8_t)i;
                r.volumes[i].epoch_before = i * 1000;
                r.volumes[i].pool = (uint8_t)(i % OWNER_MAX_POOLS);
        }
        return r;
}

static void test_the_largest_record_fits_and_comes_back(void)
{
        struct owner_record a = full(), b;
        uint8_t buf[OWNER_RECORD_MAX];
        size_t len = owner_record_encode(&a, buf);

        CU_ASSERT_TRUE(len <= OWNER_RECORD_MAX);
        memset(&b, 0xff, sizeof(b));
        CU_ASSERT_EQUAL(owner_record_decode(buf, len, &b, NULL), 0);
        CU_ASSERT_EQUAL(b.state, a.state);
        CU_ASSERT_EQUAL(b.evictable, true);
        CU_ASSERT_EQUAL(b.epoch, 99);
        CU_ASSERT_EQUAL(b.qemu_pid, 4711);
        CU_ASSERT_EQUAL(b.qemu_start, 123456789);
        CU_ASSERT_TRUE(owner_token_equal(&a.token, &b.token));
        CU_ASSERT_TRUE(uuid_equal(&a.domain, &b.domain));
        CU_ASSERT_EQUAL(memcmp(a.pools, b.pools, sizeof(a.pools)), 0);
        CU_ASSERT_EQUAL(memcmp(a.hosts, b.hosts, sizeof(a.hosts)), 0);
        for (unsigned i = 0; i < OWNER_MAX_VOLUMES; i++) {
                CU_ASSERT_TRUE(uuid_equal(&a.volumes[i].uuid, &b.volumes[i].uuid));
                CU_ASSERT_EQUAL(b.volumes[i].epoch_before, i * 1000);
                CU_ASSERT_EQUAL(b.volumes[i].pool, i % OWNER_MAX_POOLS);
        }
}

static void test_a_new_volume_is_active_at_epoch_1(void)
{
        struct owner_record r;
        uint8_t buf[OWNER_RECORD_MAX];
        size_t len = owner_record_initial(buf);

        CU_ASSERT_EQUAL(owner_record_decode(buf, len, &r, NULL), 0);
        CU_ASSERT_EQUAL(r.state, OWNER_ACTIVE);
        CU_ASSERT_EQUAL(r.epoch, 1);
        CU_ASSERT_EQUAL(r.nvolumes + r.nhosts + r.npools, 0);
}

static void test_no_damaged_byte_goes_unseen(void)
{
        struct owner_record a = full(), b;
        uint8_t buf[OWNER_RECORD_MAX];
        size_t len = owner_record_encode(&a, buf);
        struct err err = ERR_INIT;

        for (size_t i = 0; i < len; i++) {
                buf[i] ^= 0x41;
                int rc = owner_record_decode(buf, len, &b, &err);
                CU_ASSERT_TRUE(rc == -EBADMSG || rc == -EPROTONOSUPPORT);
                buf[i] ^= 0x41;
        }
        for (size_t n = 0; n < len; n++)
                CU_ASSERT_EQUAL(owner_record_decode(buf, n, &b, &err), -EBADMSG);
        CU_ASSERT_TRUE(err.msg[0] != '\0');
        CU_ASSERT_EQUAL(owner_record_decode("first", 5, &b, &err), -EBADMSG);
}

static void repair(uint8_t *buf, size_t len)
{
        put_le32(buf + 8, 0);
        put_le32(buf + 8, crc32c(0, buf, len));
}

static void test_a_record_that_verifies_but_makes_no_sense_is_refused(void)
{
        static const struct {
                size_t at;
                uint8_t value;
        } wrong[] = {{12, 0}, {12, 7}, {13, 3}, {14, 2}, {15, 33}, {16, 9}, {17, 9}, {18, 1}};
        struct owner_record a = full(), b;
        uint8_t buf[OWNER_RECORD_MAX];

        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                size_t len = owner_record_encode(&a, buf);
                buf[wrong[i].at] = wrong[i].value;
                repair(buf, len);
                CU_ASSERT_EQUAL(owner_record_decode(buf, len, &b, NULL), -EBADMSG);
        }
        a.npools = 1; /* the volumes' indexes point beyond */
        for (unsigned i = 0; i < OWNER_MAX_VOLUMES; i++)
                a.volumes[i].pool = 0;
        size_t len = owner_record_encode(&a, buf);
        buf[len - 1] = 1;
        repair(buf, len);
        CU_ASSERT_EQUAL(owner_record_decode(buf, len, &b, NULL), -EBADMSG);
        len = owner_record_encode(&a, buf);
        put_le16(buf + 4, 2);
        repair(buf, len);
        CU_ASSERT_EQUAL(owner_record_decode(buf, len, &b, NULL), -EPROTONOSUPPORT);
}

static void test_token_texts_come_back_and_nothing_else_is_one(void)
{
        static const char *const wrong[] = {
            "",
            "zp1:",
            "zp1:0102030405060708090a0b0c0d0e0f10",
            "zp1:0102030405060708090a0b0c0d0e0f10:1",
            "zp1:0102030405060708090a0b0c0d0e0f10:1:",
            "zp1:0102030405060708090a0b0c0d0e0f10:1:2x",
            "zp1:0102030405060708090A0b0c0d0e0f10:1:2",
            "zp1:0102030405060708090a0b0c0d0e0f:1:2",
            "zp2:0102030405060708090a0b0c0d0e0f10:1:2",
            "labtrace:inquire:gen=31",
        };
        struct owner_token a = {{0}, UINT64_MAX}, b;
        char text[OWNER_TOKEN_TEXT];
        uint64_t seq;

        for (int i = 0; i < 16; i++)
                a.b[i] = (uint8_t)(i * 17);
        owner_token_format(&a, 12, text);
        CU_ASSERT_EQUAL(strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789:.-"), strlen(text));
        CU_ASSERT_EQUAL(owner_token_parse(text, &b, &seq), 0);
        CU_ASSERT_TRUE(owner_token_equal(&a, &b));
        CU_ASSERT_EQUAL(seq, 12);
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
                CU_ASSERT_EQUAL(owner_token_parse(wrong[i], &b, &seq), -EINVAL);
}

static const struct t_case cases[] = {
    T_CASE(test_the_largest_record_fits_and_comes_back),
    T_CASE(test_a_new_volume_is_active_at_epoch_1),
    T_CASE(test_no_damaged_byte_goes_unseen),
    T_CASE(test_a_record_that_verifies_but_makes_no_sense_is_refused),
    T_CASE(test_token_texts_come_back_and_nothing_else_is_one),
};
T_MAIN("ownership records", cases)
