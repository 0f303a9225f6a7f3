/* Every rule of zone_model.h, on mem and file devices alike; and what is the mem device's own. */
#include "pool/device/mem.h"
#include "tests/unit/device/t_file.h"

#include <errno.h>
#include <string.h>

static struct zdev *t_new_mem(void)
{
        static const struct mem_device_spec spec = {.nr_zones = ZONES,
                                                    .zone_blocks = ZONE_BLOCKS,
                                                    .zone_capacity_blocks = CAPACITY,
                                                    .max_open = MAX_OPEN,
                                                    .max_active = MAX_ACTIVE};
        struct zdev *dev = NULL;
        CU_ASSERT_EQUAL_FATAL(mem_device_new(&spec, loop, &dev), 0);
        return dev;
}

enum what { WRITE, READ, RESET, FINISH, FLUSH };

/* Steps of one device's life, in order, and what each must answer. */
static const struct step {
        const char *rule;
        enum what what;
        uint32_t zone;
        uint64_t block;
        uint32_t n;
        int status;
        enum zdev_zone_state state; /* of zone, afterwards */
        uint64_t wp;
} steps[] = {
    {"a new zone may be read", READ, 0, 0, 4, 0, ZDEV_ZONE_EMPTY, 0},
    {"a write above the pointer fails", WRITE, 0, 1, 1, -EIO, ZDEV_ZONE_EMPTY, 0},
    {"a write opens an empty zone", WRITE, 0, 0, 4, 0, ZDEV_ZONE_OPEN, 4},
    {"a write below the pointer fails", WRITE, 0, 0, 1, -EIO, ZDEV_ZONE_OPEN, 4},
    {"a write goes on at the pointer", WRITE, 0, 4, 1, 0, ZDEV_ZONE_OPEN, 5},
    {"a write over the capacity fails", WRITE, 0, 5, CAPACITY - 4, -EIO, ZDEV_ZONE_OPEN, 5},
    {"a write of nothing fails", WRITE, 0, 5, 0, -EIO, ZDEV_ZONE_OPEN, 5},
    {"a read over the capacity fails", READ, 0, CAPACITY - 1, 2, -EIO, ZDEV_ZONE_OPEN, 5},
    {"a read above the pointer is allowed", READ, 0, 4, 4, 0, ZDEV_ZONE_OPEN, 5},
    {"a write up to the capacity fills", WRITE, 0, 5, CAPACITY - 5, 0, ZDEV_ZONE_FULL, CAPACITY},
    {"a full zone is not written", WRITE, 0, CAPACITY, 1, -EIO, ZDEV_ZONE_FULL, CAPACITY},
    {"a full zone is read", READ, 0, 0, CAPACITY, 0, ZDEV_ZONE_FULL, CAPACITY},
    {"first open zone", WRITE, 1, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"second open zone", WRITE, 2, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"third open zone", WRITE, 3, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"zone 1 becomes the last written", WRITE, 1, 1, 1, 0, ZDEV_ZONE_OPEN, 2},
    {"the open limit closes another", WRITE, 4, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"... namely the longest unwritten", READ, 2, 0, 1, 0, ZDEV_ZONE_CLOSED, 1},
    {"... and no other", READ, 1, 0, 1, 0, ZDEV_ZONE_OPEN, 2},
    {"a closed zone opens again", WRITE, 2, 1, 1, 0, ZDEV_ZONE_OPEN, 2},
    {"... and another is closed", READ, 3, 0, 1, 0, ZDEV_ZONE_CLOSED, 1},
    {"fifth active zone", WRITE, 5, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"a sixth is one too many", WRITE, 6, 0, 1, -EOVERFLOW, ZDEV_ZONE_EMPTY, 0},
    {"finish ends a zone", FINISH, 5, 0, 0, 0, ZDEV_ZONE_FULL, CAPACITY},
    {"... so that another may begin", WRITE, 6, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"finish of a closed zone", FINISH, 1, 0, 0, 0, ZDEV_ZONE_FULL, CAPACITY},
    {"finish of an empty zone", FINISH, 7, 0, 0, 0, ZDEV_ZONE_FULL, CAPACITY},
    {"reset of an open zone", RESET, 6, 0, 0, 0, ZDEV_ZONE_EMPTY, 0},
    {"reset of a full zone", RESET, 0, 0, 0, 0, ZDEV_ZONE_EMPTY, 0},
    {"reset of an empty zone", RESET, 0, 0, 0, 0, ZDEV_ZONE_EMPTY, 0},
    {"a reset zone is written again", WRITE, 0, 0, 2, 0, ZDEV_ZONE_OPEN, 2},
    {"flush", FLUSH, 0, 0, 0, 0, ZDEV_ZONE_OPEN, 2},
    {"the last zone", WRITE, ZONES - 1, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
};

static int t_step(struct zdev *dev, const struct step *s)
{
        static const enum zdev_op ops[] = {[WRITE] = ZDEV_WRITE,
                                           [READ] = ZDEV_READ,
                                           [RESET] = ZDEV_RESET,
                                           [FINISH] = ZDEV_FINISH,
                                           [FLUSH] = ZDEV_FLUSH};
        return t_do(dev, ops[s->what], s->zone, s->block, s->n, buffer);
}

static void run_steps(struct zdev *dev)
{
        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                const struct step *s = &steps[i];
                int status = t_step(dev, s);
                struct zdev_zone z = t_zone(dev, s->zone);
                bool right = status == s->status && z.state == s->state && z.wp_block == s->wp &&
                             z.capacity_blocks == CAPACITY;
                if (!right)
                        printf("%s: \"%s\": status %d state %d wp %llu\n", dev->ops->kind, s->rule,
                               status, z.state, (unsigned long long)z.wp_block);
                CU_ASSERT_TRUE(right);
        }
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, ZONES, 0, 1, buffer), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, ZONES, 0, 1, buffer), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, ZONES), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FINISH, ZONES), -EIO);
}

static void test_rules_hold_on_mem(void)
{
        struct zdev *dev = t_new_mem();
        run_steps(dev);
        zdev_close(dev);
}

static void test_rules_hold_on_file(void)
{
        struct zdev *dev = t_new_file(t_path("rules"));
        run_steps(dev);
        zdev_close(dev);
}

static void data_comes_back(struct zdev *dev)
{
        CU_ASSERT_EQUAL(t_write(dev, 3, 0, 5, 0xa1), 0);
        CU_ASSERT_EQUAL(t_write(dev, 3, 5, 7, 0xa2), 0);
        CU_ASSERT_EQUAL(t_write(dev, 4, 0, 1, 0xa3), 0);
        CU_ASSERT_TRUE(t_holds(dev, 3, 0, 5, 0xa1));
        CU_ASSERT_TRUE(t_holds(dev, 3, 5, 7, 0xa2));
        CU_ASSERT_TRUE(t_holds(dev, 4, 0, 1, 0xa3));
        /* scattered and misaligned memory */
        static uint8_t odd[3 * ZP_BLOCK + 512];
        struct iovec iov[] = {{odd + 256, 1000}, {odd + 1256, ZP_BLOCK}, {odd + 5352, 3096}};
        struct t_op op = {0};
        t_start_iov(dev, &op, ZDEV_READ, 3, 4, 2, iov, 3);
        CU_ASSERT_EQUAL(t_wait(&op), 0);
        CU_ASSERT_EQUAL(odd[256], 0xa1);
        CU_ASSERT_EQUAL(odd[256 + ZP_BLOCK - 1], 0xa1);
        CU_ASSERT_EQUAL(odd[256 + ZP_BLOCK], 0xa2);
        CU_ASSERT_EQUAL(odd[256 + 2 * ZP_BLOCK - 1], 0xa2);
        t_start_iov(dev, &op, ZDEV_WRITE, 4, 1, 2, iov, 3);
        CU_ASSERT_EQUAL(t_wait(&op), 0);
        CU_ASSERT_TRUE(t_holds(dev, 4, 1, 1, 0xa1));
        CU_ASSERT_TRUE(t_holds(dev, 4, 2, 1, 0xa2));
        zdev_close(dev);
}

static void test_data_comes_back(void)
{
        data_comes_back(t_new_mem());
        data_comes_back(t_new_file(t_path("data")));
}

/* A second write, a reset or a finish of a zone with a write in flight is refused: on a real device
 * their order would be anybody's guess. */
static void one_write_in_flight(struct zdev *dev)
{
        static const enum zdev_op second[] = {ZDEV_WRITE, ZDEV_RESET, ZDEV_FINISH};
        for (uint32_t i = 0; i < ARRAY_SIZE(second); i++) {
                struct t_op a = {0}, b = {0};
                t_start(dev, &a, ZDEV_WRITE, i, 0, 1, buffer);
                t_start(dev, &b, second[i], i, 1, 1, buffer);
                CU_ASSERT_EQUAL(t_wait(&a), 0);
                CU_ASSERT_EQUAL(t_wait(&b), -EIO);
                CU_ASSERT_EQUAL(t_zone(dev, i).wp_block, 1);
        }
        zdev_close(dev);
}

static void test_one_write_of_a_zone_is_in_flight(void)
{
        one_write_in_flight(t_new_mem());
        one_write_in_flight(t_new_file(t_path("inflight")));
}

static void test_many_operations_at_once_all_complete(void)
{
        struct zdev *devs[] = {t_new_mem(), t_new_file(t_path("many"))};
        for (size_t d = 0; d < ARRAY_SIZE(devs); d++) {
                CU_ASSERT_EQUAL(t_write(devs[d], 0, 0, CAPACITY, 0x55), 0);
                enum { N = 1000 };
                static struct t_op ops[N];
                for (int i = 0; i < N; i++)
                        t_start(devs[d], &ops[i], ZDEV_READ, 0, i % CAPACITY, 1, buffer);
                for (int i = 0; i < N; i++)
                        CU_ASSERT_EQUAL(t_wait(&ops[i]), 0);
                zdev_close(devs[d]);
        }
}

static void test_bad_zones_on_mem(void)
{
        struct zdev *dev = t_new_mem();
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 2, 1), 0);
        mem_device_set_zone(dev, 0, ZDEV_ZONE_READONLY, 2);
        CU_ASSERT_EQUAL(t_write(dev, 0, 2, 1, 1), -EROFS);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, 0), -EROFS);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FINISH, 0), -EROFS);
        CU_ASSERT_TRUE(t_holds(dev, 0, 0, 2, 1));
        mem_device_set_zone(dev, 0, ZDEV_ZONE_OFFLINE, 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 1, 1), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, 0, 0, 1, buffer), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, 0), -EIO);
        CU_ASSERT_EQUAL(t_zone(dev, 0).state, ZDEV_ZONE_OFFLINE);
        /* its place among the active ones is free again */
        for (uint32_t z = 1; z <= MAX_ACTIVE; z++)
                CU_ASSERT_EQUAL(t_write(dev, z, 0, 1, 1), 0);
        CU_ASSERT_EQUAL(t_write(dev, MAX_ACTIVE + 1, 0, 1, 1), -EOVERFLOW);
        zdev_close(dev);
}

static void test_conventional_zones_on_mem(void)
{
        static const struct mem_device_spec spec = {.nr_zones = ZONES,
                                                    .zone_blocks = ZONE_BLOCKS,
                                                    .zone_capacity_blocks = CAPACITY,
                                                    .nr_conventional = 1};
        struct zdev *dev = NULL;
        CU_ASSERT_EQUAL_FATAL(mem_device_new(&spec, loop, &dev), 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, 7, 2, 1), 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, 3, 1, 2), 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, ZONE_BLOCKS - 1, 1, 3), 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, ZONE_BLOCKS, 1, 3), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, 0), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FINISH, 0), -EIO);
        CU_ASSERT_EQUAL(t_zone(dev, 0).state, ZDEV_ZONE_CONVENTIONAL);
        CU_ASSERT_EQUAL(t_zone(dev, 0).wp_block, 0);
        CU_ASSERT_EQUAL(t_zone(dev, 0).capacity_blocks, ZONE_BLOCKS);
        CU_ASSERT_EQUAL(t_zone(dev, 1).capacity_blocks, CAPACITY);
        CU_ASSERT_EQUAL(t_write(dev, 1, 7, 1, 1), -EIO);
        zdev_close(dev);
}

static int fail_writes(void *ctx, const struct zdev_io *io)
{
        return io->op == ZDEV_WRITE && *(bool *)ctx ? -EIO : 0;
}

static void test_a_failed_write_leaves_the_pointer(void)
{
        bool fail = true;
        struct zdev *dev = t_new_mem();
        mem_device_set_fault(dev, fail_writes, &fail);
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 2, 1), -EIO);
        CU_ASSERT_EQUAL(t_zone(dev, 0).wp_block, 0);
        fail = false;
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 2, 1), 0);
        CU_ASSERT_EQUAL(t_zone(dev, 0).wp_block, 2);
        zdev_close(dev);
}

static void test_mem_without_a_loop_completes_when_told(void)
{
        static const struct mem_device_spec spec = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS};
        struct zdev *dev = NULL;
        CU_ASSERT_EQUAL_FATAL(mem_device_new(&spec, NULL, &dev), 0);
        struct t_op a = {0}, b = {0};
        t_start(dev, &a, ZDEV_WRITE, 0, 0, 1, buffer);
        t_start(dev, &b, ZDEV_FLUSH, 0, 0, 0, NULL);
        loop_turn(loop, 0);
        CU_ASSERT_FALSE(a.done);
        CU_ASSERT_TRUE(mem_device_step(dev));
        CU_ASSERT_TRUE(a.done && !b.done);
        CU_ASSERT_EQUAL(mem_device_run(dev), 1);
        CU_ASSERT_TRUE(b.done);
        CU_ASSERT_FALSE(mem_device_step(dev));
        zdev_close(dev);
}

static const struct t_case cases[] = {
    T_CASE(test_rules_hold_on_mem),
    T_CASE(test_rules_hold_on_file),
    T_CASE(test_data_comes_back),
    T_CASE(test_one_write_of_a_zone_is_in_flight),
    T_CASE(test_many_operations_at_once_all_complete),
    T_CASE(test_bad_zones_on_mem),
    T_CASE(test_conventional_zones_on_mem),
    T_CASE(test_a_failed_write_leaves_the_pointer),
    T_CASE(test_mem_without_a_loop_completes_when_told),
};

int main(void)
{
        return t_device_run("rules of zoned devices", cases, ARRAY_SIZE(cases));
}
