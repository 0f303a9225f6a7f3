/* What is decoded from a broken disk is refused, never believed: every single-byte change of a root
 * and of a header is found, and sizes that point outside are. */
#include "base/le.h"
#include "base/rng.h"
#include "pool/address.h"
#include "pool/log/header.h"
#include "pool/root/root.h"
#include "pool/table/catalog.h"
#include "tests/t_suite.h"

#include <errno.h>

static const uint8_t secret[KEYED_SECRET_BYTES] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                   8, 9, 10, 11, 12, 13, 14, 15};

static void test_keyed_sum_is_siphash_2_4(void)
{
        /* from the algorithm's paper: key 00..0f, message 00..0e */
        uint8_t msg[15];
        for (uint8_t i = 0; i < 15; i++)
                msg[i] = i;
        CU_ASSERT_EQUAL(keyed_sum(secret, msg, 15), UINT64_C(0xa129ca6149be45e5));
}

/* A header of one WRITE of 3 blocks that follow each other, one DISCARD, one MOVE of 2 that are
 * scattered. */
static struct header sample_header(uint8_t *buf)
{
        uint8_t *p = buf + HEADER_FIXED;

        memset(buf, 0, ZP_BLOCK);
        put_u8(p, RECORD_WRITE);
        put_le32(p + 4, 3);
        put_le64(p + 8, 7);
        put_le64(p + 16, 1000);
        for (int i = 0; i < 3; i++)
                put_le32(p + 24 + 4 * i, 0xc0 + i);
        p += 24 + 12;
        put_u8(p, RECORD_DISCARD);
        put_le32(p + 4, 1 << 30);
        put_le64(p + 8, 7);
        put_le64(p + 16, 5);
        p += 24;
        put_u8(p, RECORD_MOVE);
        put_u8(p + 2, 2);
        put_le32(p + 4, 2);
        put_le64(p + 8, 9);
        put_le64(p + 16, 77);
        put_le32(p + 24, 4);
        put_le32(p + 28, 6);
        for (int i = 0; i < 2; i++) {
                put_le16(p + 32 + 10 * i, (uint16_t)(0x300 - 0x300 * i));
                put_le32(p + 34 + 10 * i, 0xd0 + i);
                put_le32(p + 38 + 10 * i, 20 + i);
        }
        p += 24 + 28;
        struct header h = {.kind = HEADER_BATCH,
                           .cls = 1,
                           .width = 2,
                           .copies = 3,
                           .member = {{7, 1}, {9, 0}},
                           .group = 3,
                           .generation = 4,
                           .seq = 50,
                           .prev_seq = 40,
                           .prev_sum = 99,
                           .mark = 30,
                           .offset = 12,
                           .header_blocks = 1,
                           .data_blocks = 5,
                           .nrecords = 3,
                           .record_bytes = (uint32_t)(p - buf - HEADER_FIXED)};
        header_seal(&h, buf, secret);
        return h;
}

static void test_header_comes_back(void)
{
        uint8_t buf[ZP_BLOCK];
        struct header h = sample_header(buf), back;
        struct record rec[4];
        uint32_t pos = 0, data = 0, from_gen;
        uint64_t from;
        int n = 0;

        CU_ASSERT_EQUAL_FATAL(header_decode(buf, &back), 0);
        CU_ASSERT_EQUAL(header_verify(&back, buf, secret), 0);
        CU_ASSERT_EQUAL(back.seq, 50);
        CU_ASSERT_EQUAL(back.prev_seq, 40);
        CU_ASSERT_EQUAL(back.mark, 30);
        CU_ASSERT_EQUAL(back.sum, h.sum);
        while (n < 4 &&
               record_next(buf + HEADER_FIXED, back.record_bytes, &pos, &data, &rec[n]) > 0)
                n++;
        CU_ASSERT_EQUAL_FATAL(n, 3);
        CU_ASSERT_EQUAL(record_crc(&rec[0], 2), 0xc2);
        CU_ASSERT_EQUAL(record_index(&rec[0], 2), 1002);
        CU_ASSERT_EQUAL(rec[1].data, 3);
        CU_ASSERT_EQUAL(rec[2].data, 3);
        record_from(&rec[2], 1, &from, &from_gen);
        CU_ASSERT_EQUAL(from, addr_make(6, 21));
        CU_ASSERT_EQUAL(from_gen, 4);
        CU_ASSERT_EQUAL(record_crc(&rec[2], 1), 0xd1);
        CU_ASSERT_EQUAL(record_index(&rec[2], 0), 77 + 0x300);
        CU_ASSERT_EQUAL(record_index(&rec[2], 1), 77);
}

static void test_every_changed_byte_of_a_header_is_found(void)
{
        uint8_t buf[ZP_BLOCK];
        struct header back;

        sample_header(buf);
        for (int i = 0; i < ZP_BLOCK; i++) {
                buf[i] ^= 0x41;
                int rc = header_decode(buf, &back);
                /* of a first block that claims more blocks the rest would have to be read: not here
                 */
                if (rc == 0 && back.header_blocks == 1)
                        rc = header_verify(&back, buf, secret);
                else if (rc == 0)
                        rc = -EBADMSG;
                if (rc >= 0)
                        CU_FAIL("a changed header verifies");
                buf[i] ^= 0x41;
        }
        CU_ASSERT_EQUAL(header_decode(buf, &back), 0);
        CU_ASSERT_EQUAL(header_verify(&back, buf, secret), 0);
        uint8_t other[KEYED_SECRET_BYTES] = {1};
        CU_ASSERT_EQUAL(header_verify(&back, buf, other), -EBADMSG);
}

static void test_records_that_point_outside_are_refused(void)
{
        static const struct {
                uint32_t at;
                uint32_t value;
        } cases[] = {{4, 4}, {4, UINT32_MAX}, {4, 2}, {36 + 24 + 4, 3}, {36 + 24 + 4, 0x10000000}};

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint8_t buf[ZP_BLOCK];
                struct header h = sample_header(buf), back;
                put_le32(buf + HEADER_FIXED + cases[i].at, cases[i].value);
                header_seal(&h, buf, secret); /* a right checksum over wrong records */
                CU_ASSERT_EQUAL_FATAL(header_decode(buf, &back), 0);
                CU_ASSERT_EQUAL(header_verify(&back, buf, secret), -EBADMSG);
        }
        static const struct {
                uint32_t record;
                uint8_t index_bytes;
        } widths[] = {{0, 1}, {0, 6}, {36, 1}, {36 + 24, 1}, {36 + 24, 3}, {36 + 24, 255}};
        for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
                uint8_t buf[ZP_BLOCK];
                struct header h = sample_header(buf), back;
                put_u8(buf + HEADER_FIXED + widths[i].record + 2, widths[i].index_bytes);
                header_seal(&h, buf, secret);
                CU_ASSERT_EQUAL_FATAL(header_decode(buf, &back), 0);
                CU_ASSERT_EQUAL(header_verify(&back, buf, secret), -EBADMSG);
        }
        uint8_t buf[ZP_BLOCK];
        struct header h = sample_header(buf), back;
        put_u8(buf + HEADER_FIXED, 99); /* an unknown type */
        header_seal(&h, buf, secret);
        CU_ASSERT_EQUAL_FATAL(header_decode(buf, &back), 0);
        CU_ASSERT_EQUAL(header_verify(&back, buf, secret), -EBADMSG);
        h = sample_header(buf);
        h.record_bytes = ZP_BLOCK;
        header_seal(&h, buf, secret);
        CU_ASSERT_EQUAL(header_decode(buf, &back), -EBADMSG);
        h = sample_header(buf);
        for (uint16_t version = 0; version < 5; version++) {
                put_le16(buf + 4, version);
                int want = version == POOL_FORMAT_VERSION ? 0 : -EPROTONOSUPPORT;
                CU_ASSERT_EQUAL(header_decode(buf, &back), want);
        }
}

static void test_random_records_never_lead_outside(void)
{
        struct rng r = {4711};
        uint8_t *buf = malloc(512); /* exact size: a sanitizer sees what leads outside */

        for (int round = 0; round < 20000; round++) {
                uint32_t len = (uint32_t)rng_below(&r, 512);
                struct record rec;
                uint32_t pos = 0, data = 0;
                uint64_t sum = 0, from;
                uint32_t gen;
                for (uint32_t i = 0; i < len; i++)
                        buf[i] = rng_chance(&r, 2, 3) ? 0 : (uint8_t)rng_below(&r, 24);
                memmove(buf + 512 - len, buf, len);
                while (record_next(buf + 512 - len, len, &pos, &data, &rec) > 0) {
                        uint32_t n = record_data_blocks(rec.type, rec.count);
                        for (uint32_t i = 0; i < n; i++) {
                                sum += record_crc(&rec, i) + record_index(&rec, i);
                                if (rec.type == RECORD_MOVE)
                                        record_from(&rec, i, &from, &gen);
                        }
                }
                CU_ASSERT_TRUE_FATAL(pos <= len && sum + 1 > 0);
        }
        free(buf);
}

static struct root sample_root(struct root_device *devs, struct root_group *groups)
{
        struct root r = {.version = POOL_FORMAT_VERSION,
                         .generation = 17,
                         .ndevices = 2,
                         .index = 1,
                         .seq = 900,
                         .durable = 901,
                         .next_tree = 12,
                         .claims = 0xfedc,
                         .catalog_height = 1,
                         .ngroups = 100,
                         .checksums = true,
                         .name = "tank",
                         .devices = devs,
                         .groups = groups};

        r.blocks = root_blocks(2, 100);
        for (uint32_t i = 0; i < 2; i++)
                devs[i] = (struct root_device){.nr_zones = 64, .zone_blocks = 512};
        for (uint32_t i = 0; i < 100; i++)
                groups[i] = (struct root_group){.state = ROOT_GROUP_OPEN,
                                                .generation = i,
                                                .live = 3,
                                                .wp = 4,
                                                .cap = 500,
                                                .zone_cap = 510,
                                                .width = 1,
                                                .copies = 1,
                                                .last_seq = i,
                                                .member = {{2 + i % 62, (uint16_t)(i / 62)}}};
        return r;
}

static void test_root_comes_back_and_every_changed_byte_is_found(void)
{
        struct root_device devs[2];
        struct root_group groups[100];
        struct root r = sample_root(devs, groups), back;
        uint8_t *buf = malloc((size_t)r.blocks * ZP_BLOCK);

        root_encode(&r, buf);
        CU_ASSERT_EQUAL_FATAL(root_decode(buf, r.blocks, &back), 0);
        CU_ASSERT_EQUAL(back.generation, 17);
        CU_ASSERT_EQUAL(back.durable, 901);
        CU_ASSERT_EQUAL(back.claims, 0xfedc);
        CU_ASSERT_STRING_EQUAL(back.name, "tank");
        CU_ASSERT_EQUAL(back.groups[99].member[0].dev, 1);
        CU_ASSERT_EQUAL(back.groups[99].generation, 99);
        root_fini(&back);
        for (uint32_t i = 0; i < r.blocks * ZP_BLOCK; i++) {
                buf[i] ^= 0x80;
                if (root_decode(buf, r.blocks, &back) == 0) {
                        CU_FAIL("a changed root verifies");
                        root_fini(&back);
                }
                buf[i] ^= 0x80;
        }
        free(buf);
}

static void test_roots_that_contradict_themselves_are_refused(void)
{
        struct root_device devs[2];
        struct root_group groups[100];
        struct root r = sample_root(devs, groups), back;
        uint8_t *buf = malloc((size_t)r.blocks * ZP_BLOCK);

        groups[5].member[0].zone = 64; /* behind the device's end */
        root_encode(&r, buf);
        CU_ASSERT_EQUAL(root_decode(buf, r.blocks, &back), -EBADMSG);
        groups[5].member[0].zone = 1; /* the label's */
        root_encode(&r, buf);
        CU_ASSERT_EQUAL(root_decode(buf, r.blocks, &back), -EBADMSG);
        groups[5].member[0] = (struct root_member){7, 2, MEMBER_GOOD}; /* no such device */
        root_encode(&r, buf);
        CU_ASSERT_EQUAL(root_decode(buf, r.blocks, &back), -EBADMSG);
        r = sample_root(devs, groups);
        groups[5].width = groups[5].copies = 2; /* twice on one device */
        groups[5].member[1] = (struct root_member){9, groups[5].member[0].dev, MEMBER_GOOD};
        root_encode(&r, buf);
        CU_ASSERT_EQUAL(root_decode(buf, r.blocks, &back), -EBADMSG);
        groups[5].member[1].dev ^= 1;
        groups[5].member[1].good = 3;
        root_encode(&r, buf);
        CU_ASSERT_EQUAL_FATAL(root_decode(buf, r.blocks, &back), 0);
        CU_ASSERT_EQUAL(back.groups[5].member[1].zone, 9);
        CU_ASSERT_EQUAL(back.groups[5].member[1].good, 3);
        root_fini(&back);
        groups[5].copies = 1; /* wider than asked for */
        root_encode(&r, buf);
        CU_ASSERT_EQUAL(root_decode(buf, r.blocks, &back), -EBADMSG);
        r = sample_root(devs, groups);
        groups[9].wp = 501;
        root_encode(&r, buf);
        CU_ASSERT_EQUAL(root_decode(buf, r.blocks, &back), -EBADMSG);
        r = sample_root(devs, groups);
        r.version = POOL_FORMAT_VERSION + 1;
        root_encode(&r, buf);
        CU_ASSERT_EQUAL(root_decode(buf, r.blocks, &back), -EPROTONOSUPPORT);
        CU_ASSERT_EQUAL(root_decode_fixed(buf, &back), -EPROTONOSUPPORT);
        CU_ASSERT_STRING_EQUAL(back.name, "tank");
        free(buf);
}

static void test_inodes_are_checked(void)
{
        struct tree tree = {.id = 5, .parent = 4, .limit = 2}, back_tree = {0};
        struct volume v = {
            .name = "disk", .size_bytes = 8192, .uuid = {{1}}, .owner_len = 3, .tree = &tree};
        struct volume back = {.tree = &back_tree};
        uint8_t buf[INODE_FIXED + VOLUME_OWNER_MAX];

        v.copies = 2;
        memcpy(v.owner, "abc", 3);
        uint32_t len = inode_encode(&v, buf);
        CU_ASSERT_EQUAL(len, INODE_FIXED + 3);
        CU_ASSERT_EQUAL(inode_decode(buf, len, &back), 0);
        CU_ASSERT_STRING_EQUAL(back.name, "disk");
        CU_ASSERT_EQUAL(back.copies, 2);
        CU_ASSERT_TRUE(back_tree.id == 5 && back_tree.parent == 4 && back_tree.limit == 2);
        tree.parent = 5; /* as old as itself */
        inode_encode(&v, buf);
        CU_ASSERT_EQUAL(inode_decode(buf, len, &back), -EBADMSG);
        tree.parent = 0; /* and nothing that could show */
        inode_encode(&v, buf);
        CU_ASSERT_EQUAL(inode_decode(buf, len, &back), -EBADMSG);
        tree.limit = 0;
        v.doomed = true; /* and not frozen */
        inode_encode(&v, buf);
        CU_ASSERT_EQUAL(inode_decode(buf, len, &back), -EBADMSG);
        v.frozen = true;
        v.name[0] = 0;
        inode_encode(&v, buf);
        CU_ASSERT_EQUAL(inode_decode(buf, len, &back), 0);
        v.doomed = false;
        inode_encode(&v, buf);
        CU_ASSERT_EQUAL(inode_decode(buf, len, &back), -EBADMSG);
        v.name[0] = 'd';
        v.frozen = false;
        inode_encode(&v, buf);
        CU_ASSERT_EQUAL(memcmp(back.owner, "abc", 3), 0);
        CU_ASSERT_EQUAL(inode_decode(buf, len - 1, &back), -EBADMSG);
        put_u8(buf + 61, 4);
        CU_ASSERT_EQUAL(inode_decode(buf, len, &back), -EBADMSG);
        put_u8(buf + 61, 1);
        buf[128] = '/';
        CU_ASSERT_EQUAL(inode_decode(buf, len, &back), -EBADMSG);
        buf[128] = 'd';
        put_le64(buf + 40, VOLUME_MAX_BYTES + 512);
        CU_ASSERT_EQUAL(inode_decode(buf, len, &back), -EBADMSG);
        put_le64(buf + 40, 8192);
        put_u8(buf + 60, MAX_HEIGHT + 1);
        CU_ASSERT_EQUAL(inode_decode(buf, len, &back), -EBADMSG);
}

static const struct t_case cases[] = {
    T_CASE(test_keyed_sum_is_siphash_2_4),
    T_CASE(test_header_comes_back),
    T_CASE(test_every_changed_byte_of_a_header_is_found),
    T_CASE(test_records_that_point_outside_are_refused),
    T_CASE(test_random_records_never_lead_outside),
    T_CASE(test_root_comes_back_and_every_changed_byte_is_found),
    T_CASE(test_roots_that_contradict_themselves_are_refused),
    T_CASE(test_inodes_are_checked),
};
T_MAIN("pool formats", cases)
