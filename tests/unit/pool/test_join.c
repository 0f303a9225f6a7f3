/* A device that fails while a pool takes it in: at every operation of it. */
#include "t_pool.h"

#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { MB = 1024 * 1024, ZONES = 24, ZONE_BLOCKS = 64, BLOCKS = 40 };

struct answer {
        bool done;
        int status;
        char text[512];
};

static void added(void *ctx, int status, const struct err *err, uint32_t index)
{
        struct answer *a = ctx;

        a->done = true;
        a->status = status;
        snprintf(a->text, sizeof(a->text), "%s", err ? err->msg : "");
}

/* Operations it still carries out. */
static int fault_at(void *ctx, const struct zdev_io *io)
{
        unsigned *left = ctx;

        return *left ? (--*left, 0) : -ENODEV;
}

static int fail_once(void *ctx, const struct zdev_io *io)
{
        unsigned *left = ctx;

        return *left && !--*left ? -EIO : 0;
}

static void write_some(struct t_pool *t, struct volume *vol, uint64_t version)
{
        uint8_t buf[ZP_BLOCK];

        for (uint64_t i = 0; i < BLOCKS; i++) {
                t_fill(buf, 1, i, version);
                CU_ASSERT_EQUAL(t_io(vol, t, VOLUME_WRITE, i * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
        }
        CU_ASSERT_EQUAL(t_flush(vol, t), 0);
}

static void check_all(struct t_pool *t, uint64_t version)
{
        struct volume *vol = volume_by_name(t->pool, "v");
        uint8_t want[ZP_BLOCK], buf[ZP_BLOCK];

        CU_ASSERT_PTR_NOT_NULL_FATAL(vol);
        for (uint64_t i = 0; i < BLOCKS; i++) {
                t_fill(want, 1, i, version);
                CU_ASSERT_EQUAL(t_io(vol, t, VOLUME_READ, i * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
                CU_ASSERT_EQUAL(memcmp(buf, want, ZP_BLOCK), 0);
        }
}

/* The device's nth operation fails. True: it was taken in all the same. */
static bool join(unsigned n, int (*fault)(void *ctx, const struct zdev_io *io))
{
        struct t_pool t;
        struct volume *vol;
        struct answer a = {0};
        struct pool_status st;
        unsigned left = n;

        t_pool_new(&t, 1, ZONES, ZONE_BLOCKS);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "v", MB, &vol), 0);
        write_some(&t, vol, 1);

        struct t_pool more;
        struct mem_device_spec spec = {
            .nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS, .max_open = 4, .max_active = 4};
        t_devices(&more, 1, &spec);
        mem_device_set_fault(t_mem(&more, 0), fault, &left);
        t.devs[t.ndevs++] = more.devs[0]; /* to be driven with the others */
        pool_device_add(t.pool, more.devs[0], &a, added);
        t_drive(&t);
        CU_ASSERT_TRUE_FATAL(a.done);
        bool in = a.status == 0;
        if (!in) {
                CU_ASSERT(a.status == -EIO || a.status == -ENODEV);
                CU_ASSERT(a.text[0] != '\0');
        }
        pool_get_status(t.pool, &st);
        CU_ASSERT_FALSE(st.readonly);
        if (!in) {
                write_some(&t, vol, 2);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
                t_check(&t);
                t_crash(&t);
                t.ndevs--; /* nobody asks for it */
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
                check_all(&t, 2);
                t.ndevs++;
        }
        t_fini(&t);
        return in;
}

static void test_device_dies_while_it_joins(void)
{
        unsigned n = 0;

        while (!join(n, fault_at))
                CU_ASSERT_TRUE_FATAL(++n < 1000);
        CU_ASSERT(n > ZONES);
}

/* Nothing but the device is to blame, and the others do not suffer for it. */
static void test_one_failure_while_it_joins(void)
{
        for (unsigned n = 1; n < 60; n++)
                join(n, fail_once);
}

static const struct t_case cases[] = {
    T_CASE(test_device_dies_while_it_joins),
    T_CASE(test_one_failure_while_it_joins),
};
T_MAIN("join", cases)
