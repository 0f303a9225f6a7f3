/* The life of a pool: what is written is there again, after a clean export and after a crash. */
#include "t_pool.h"

#include "pool/device/mem.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { KB = 1024, MB = 1024 * 1024 };

static void test_survives_export_and_import(void)
{
        struct t_pool t;
        struct volume *vol;
        uint8_t buf[ZP_BLOCK], back[ZP_BLOCK];

        t_pool_new(&t, 2, 16, 256);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 8 * MB, &vol), 0);
        for (uint64_t b = 0; b < 100; b++) {
                t_fill(buf, 1, b, 1);
                CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, b * 3 * ZP_BLOCK, buf, ZP_BLOCK, false),
                                0);
        }
        t_check(&t);
        t_export(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check(&t);
        vol = volume_by_name(t.pool, "disk");
        CU_ASSERT_PTR_NOT_NULL_FATAL(vol);
        CU_ASSERT_EQUAL(volume_size_bytes(vol), 8 * MB);
        for (uint64_t b = 0; b < 100; b++) {
                t_fill(buf, 1, b, 1);
                CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, b * 3 * ZP_BLOCK, back, ZP_BLOCK, false),
                                0);
                CU_ASSERT_EQUAL(memcmp(buf, back, ZP_BLOCK), 0);
                CU_ASSERT_EQUAL(
                    t_io(vol, &t, VOLUME_READ, (b * 3 + 1) * ZP_BLOCK, back, ZP_BLOCK, false), 0);
                CU_ASSERT_EQUAL(back[17], 0);
        }
        t_fini(&t);
}

static void test_survives_a_crash(void)
{
        struct t_pool t;
        struct volume *vol;
        uint8_t buf[ZP_BLOCK], back[ZP_BLOCK];
        size_t len;

        t_pool_new(&t, 1, 16, 256);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 8 * MB, &vol), 0);
        for (int round = 1; round < 6; round++) {
                for (uint64_t b = 0; b < 50; b++) {
                        t_fill(buf, 1, b, (uint64_t)round);
                        CU_ASSERT_EQUAL(
                            t_io(vol, &t, VOLUME_WRITE, b * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
                }
                if (round == 3)
                        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
                CU_ASSERT_EQUAL(t_flush(vol, &t), 0);
                t_crash(&t);
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
                t_check(&t);
                vol = volume_by_name(t.pool, "disk");
                CU_ASSERT_PTR_NOT_NULL_FATAL(vol);
                CU_ASSERT_EQUAL(memcmp(volume_owner(vol, &len), "first", 5), 0);
                for (uint64_t b = 0; b < 50; b++) {
                        t_fill(buf, 1, b, (uint64_t)round);
                        CU_ASSERT_EQUAL(
                            t_io(vol, &t, VOLUME_READ, b * ZP_BLOCK, back, ZP_BLOCK, false), 0);
                        CU_ASSERT_EQUAL(memcmp(buf, back, ZP_BLOCK), 0);
                }
        }
        t_fini(&t);
}

static void test_full_pool_can_be_overwritten_for_ever(void)
{
        struct t_pool t;
        struct volume *vol;
        struct pool_status st;
        uint8_t buf[ZP_BLOCK], back[ZP_BLOCK];

        t_pool_new(&t, 1, 16, 64);
        pool_get_status(t.pool, &st);
        CU_ASSERT_TRUE_FATAL(st.capacity_bytes >= 300 * ZP_BLOCK);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 64 * MB, &vol), 0);
        pool_get_status(t.pool, &st);
        uint64_t n = st.available_bytes / ZP_BLOCK;
        for (uint64_t b = 0; b < n; b++) {
                t_fill(buf, 1, b, 0);
                CU_ASSERT_EQUAL_FATAL(t_io_nohold(vol, &t, b * ZP_BLOCK, buf, ZP_BLOCK), 0);
        }
        t_check(&t);
        struct volume_info info;
        volume_get_info(vol, &info);
        CU_ASSERT_EQUAL(info.allocated_bytes, n * ZP_BLOCK);
        for (uint64_t i = 0; i < 10 * n; i++) {
                uint64_t b = i * 7919 % n;
                t_fill(buf, 1, b, i + 1);
                int rc = t_io(vol, &t, VOLUME_WRITE, b * ZP_BLOCK, buf, ZP_BLOCK, false);
                CU_ASSERT_EQUAL_FATAL(rc, 0);
                CU_ASSERT_EQUAL_FATAL(
                    t_io(vol, &t, VOLUME_READ, b * ZP_BLOCK, back, ZP_BLOCK, false), 0);
                CU_ASSERT_EQUAL(memcmp(buf, back, ZP_BLOCK), 0);
        }
        t_check(&t);
        pool_get_status(t.pool, &st);
        volume_get_info(vol, &info); /* the one volume: all that was moved was moved for it */
        CU_ASSERT_EQUAL(info.user_write_bytes, 11 * n * ZP_BLOCK);
        CU_ASSERT_TRUE(info.moved_write_bytes <= st.clean_write_bytes);
        CU_ASSERT_TRUE(info.moved_write_bytes > st.clean_write_bytes / 2);
        CU_ASSERT_TRUE(info.moved_write_bytes > 0);
        t_export(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        struct volume_info again;
        volume_get_info(volume_next(t.pool, NULL), &again);
        CU_ASSERT_EQUAL(again.moved_write_bytes, info.moved_write_bytes);
        printf(" [%llu blocks of capacity, %.2f written per user block] ", (unsigned long long)n,
               (double)st.device_write_bytes / (double)st.user_write_bytes);
        t_fini(&t);
}

static void test_format_refuses_what_cannot_hold_a_pool(void)
{
        static const struct {
                struct mem_device_spec spec;
                const char *name;
                const char *says;
        } cases[] = {
            {{.nr_zones = 15, .zone_blocks = 64}, "tank", "15 zones"},
            {{.nr_zones = 16, .zone_blocks = 16}, "tank", "16 blocks"},
            {{.nr_zones = 16, .zone_blocks = 64, .max_open = 3, .max_active = 3}, "tank", "3 open"},
            {{.nr_zones = 17, .zone_blocks = 64, .nr_conventional = 2}, "tank", "only 13 zones"},
            {{.nr_zones = 16, .zone_blocks = 64, .nr_conventional = 0}, "a/b", "name"},
            {{.nr_zones = 16, .zone_blocks = 64, .nr_conventional = 0}, "", "name"},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct t_pool t;
                t_devices(&t, 1, &cases[i].spec);
                CU_ASSERT_EQUAL(t_format(&t, cases[i].name), -EINVAL);
                if (!strstr(t.err.msg, cases[i].says)) {
                        printf("\n    case %zu says: %s\n", i, t.err.msg);
                        CU_FAIL("the text does not say what is wrong");
                }
                CU_ASSERT_EQUAL(t_import(&t), -ENOENT);
                t_fini(&t);
        }
}

static void test_import_names_what_is_missing_or_foreign(void)
{
        struct t_pool t, other;
        struct zdev *second;

        t_pool_new(&t, 2, 16, 64);
        t_export(&t);
        t.ndevs = 1;
        CU_ASSERT_EQUAL(t_import(&t), -ENXIO);
        CU_ASSERT_PTR_NOT_NULL(strstr(t.err.msg, "device 1 of 2"));
        t.ndevs = 2;
        t_pool_new(&other, 1, 16, 64);
        t_export(&other);
        second = t.devs[1];
        t.devs[1] = other.devs[0];
        CU_ASSERT_EQUAL(t_import(&t), -EEXIST);
        /* the devices in any order */
        t.devs[1] = t.devs[0];
        t.devs[0] = second;
        CU_ASSERT_EQUAL(t_import(&t), 0);
        t_fini(&t);
        t_fini(&other);
}

static const struct t_case cases[] = {
    T_CASE(test_format_refuses_what_cannot_hold_a_pool),
    T_CASE(test_import_names_what_is_missing_or_foreign),
    T_CASE(test_survives_export_and_import),
    T_CASE(test_survives_a_crash),
    T_CASE(test_full_pool_can_be_overwritten_for_ever),
};
T_MAIN("pool", cases)
