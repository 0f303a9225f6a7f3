/* Devices that leave while there is next to no room on the others: what lives there fits, and so it
 * gets there, and users go on meanwhile. */
#include "t_pool.h"

#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { ZONES = 24, ZONE_BLOCKS = 64, MAX_BLOCKS = 4000, LEFT = 600, FREE_ON_OTHERS = 4 };

static struct pool_device_status device(struct t_pool *t, uint32_t index)
{
        struct pool_device_status st;

        pool_get_device_status(t->pool, index, &st);
        return st;
}

static void answered(void *ctx, int rc, const struct err *err)
{
        *(int *)ctx = rc;
}

static int evacuate(struct t_pool *t, uint32_t index)
{
        int rc = 1;

        pool_device_evacuate(t->pool, index, &rc, answered);
        t_drive(t);
        return rc;
}

static uint64_t version_of[MAX_BLOCKS];

static void write_block(struct t_pool *t, struct volume *vol, uint64_t b)
{
        uint8_t buf[ZP_BLOCK];

        t_fill(buf, 1, b, ++version_of[b]);
        CU_ASSERT_EQUAL_FATAL(t_io(vol, t, VOLUME_WRITE, b * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
}

static void check_blocks(struct t_pool *t, struct volume *vol, uint64_t n)
{
        uint8_t buf[ZP_BLOCK], want[ZP_BLOCK];
        uint64_t bad = 0;

        for (uint64_t b = 0; b < n; b++) {
                t_fill(want, 1, b, version_of[b]);
                bad += t_io(vol, t, VOLUME_READ, b * ZP_BLOCK, buf, ZP_BLOCK, false) < 0 ||
                       memcmp(buf, want, ZP_BLOCK) != 0;
        }
        CU_ASSERT_EQUAL(bad, 0);
}

static void overwrite_some(struct t_pool *t, struct volume *vol, uint64_t n, uint64_t writes)
{
        for (uint64_t i = 0; i < writes; i++) {
                t->random = t->random * 6364136223846793005u + 1442695040888963407u;
                write_block(t, vol, (t->random >> 33) % n);
        }
}

/* Five devices, everything three times, and as much as three of them hold. */
static void test_two_devices_leave_a_mirrored_pool_that_is_full_then(void)
{
        const struct mem_device_spec spec = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS};
        struct t_pool t;
        struct volume *vol;
        uint64_t n = 0;

        memset(version_of, 0, sizeof(version_of));
        t_devices(&t, 3, &spec);
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "small"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(&t, "disk", MAX_BLOCKS * ZP_BLOCK, 3, &vol), 0);
        struct pool_status st;
        pool_get_status(t.pool, &st);
        n = st.available_by_copies[2] / ZP_BLOCK - 8;
        t_fini(&t);

        t_devices(&t, 5, &spec);
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(&t, "disk", MAX_BLOCKS * ZP_BLOCK, 3, &vol), 0);
        for (uint64_t b = 0; b < n; b++)
                write_block(&t, vol, b);
        overwrite_some(&t, vol, n, 6 * n);
        CU_ASSERT_EQUAL(evacuate(&t, 3), 0);
        CU_ASSERT_EQUAL(evacuate(&t, 4), 0);
        overwrite_some(&t, vol, n, 2 * n);
        t_pass(&t, 60);
        CU_ASSERT_TRUE(device(&t, 3).drained);
        CU_ASSERT_TRUE(device(&t, 4).drained);
        check_blocks(&t, vol, n);
        t_check(&t);
        t_fini(&t);
}

/* Two devices that are full of what is mostly dead. The second has more zones free, but may have few
 * open. Returns how many blocks are left, which the first alone can hold. */
static uint64_t few_are_free(struct t_pool *t, struct volume **ret_vol)
{
        struct mem_device_spec spec = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS};
        struct t_pool other;
        uint64_t n = 0;

        memset(version_of, 0, sizeof(version_of));
        t_devices(t, 1, &spec);
        spec = (struct mem_device_spec){
            .nr_zones = 3 * ZONES, .zone_blocks = ZONE_BLOCKS, .max_open = 4, .max_active = 4};
        t_devices(&other, 1, &spec);
        t->devs[t->ndevs++] = other.devs[0];
        CU_ASSERT_EQUAL_FATAL(t_format(t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create(t, "disk", MAX_BLOCKS * ZP_BLOCK, ret_vol), 0);
        while (n < MAX_BLOCKS) {
                write_block(t, *ret_vol, n++);
                overwrite_some(t, *ret_vol, n, 1);
        }
        for (uint64_t b = LEFT; b < n; b++)
                if (b % 64)
                        CU_ASSERT_EQUAL(
                            t_io(*ret_vol, t, VOLUME_DISCARD, b * ZP_BLOCK, NULL, ZP_BLOCK, false),
                            0);
        CU_ASSERT_TRUE_FATAL(device(t, 0).empty_zones <= FREE_ON_OTHERS);
        return LEFT;
}

static bool step(struct t_pool *t)
{
        bool any = false;

        for (uint32_t i = 0; i < t->ndevs; i++)
                any |= mem_device_step(t_mem(t, i));
        return any;
}

/* Else nothing could be moved: neither what lives there, nor what stands in the way. */
static void test_a_device_leaves_once_the_others_have_groups_free(void)
{
        struct t_pool t;
        struct volume *vol;
        uint64_t n = few_are_free(&t, &vol);
        int rc = 1;

        pool_device_evacuate(t.pool, 1, &rc, answered);
        while (device(&t, 1).state == POOL_DEVICE_MEMBER && step(&t))
                ;
        CU_ASSERT_EQUAL(device(&t, 1).state, POOL_DEVICE_LEAVING);
        CU_ASSERT_TRUE(device(&t, 0).empty_zones > FREE_ON_OTHERS);
        t_drive(&t);
        CU_ASSERT_EQUAL(rc, 0);
        overwrite_some(&t, vol, n, n);
        t_pass(&t, 60);
        CU_ASSERT_TRUE(device(&t, 1).drained);
        check_blocks(&t, vol, n);
        t_check(&t);
        t_fini(&t);
}

static void test_an_export_does_not_wait_for_it(void)
{
        struct t_pool t;
        struct volume *vol;
        int rc = 1;

        few_are_free(&t, &vol);
        pool_device_evacuate(t.pool, 1, &rc, answered);
        t_export(&t);
        CU_ASSERT_EQUAL(rc, -ECANCELED);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL(device(&t, 1).state, POOL_DEVICE_MEMBER);
        t_check(&t);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_a_device_leaves_once_the_others_have_groups_free),
    T_CASE(test_an_export_does_not_wait_for_it),
    T_CASE(test_two_devices_leave_a_mirrored_pool_that_is_full_then),
};
T_MAIN("devices leave", cases)
