/* What is encoded comes back, block by block, whatever comes behind what; a plan says at each step
 * how many bytes it takes; and scattered blocks take few. */
#include "base/rng.h"
#include "pool/internal.h"
#include "pool/log/encode.h"
#include "tests/t_suite.h"

#include <string.h>

enum { ITEMS = 400, BUF = ITEMS * 64 };

static const uint8_t any_data[1];

/* An item that stands on nobody's queue. */
static struct item make(uint8_t type, uint64_t tree, uint64_t index, struct rng *r)
{
        struct item it = {.type = type,
                          .level = type == RECORD_PAGE ? (uint8_t)rng_below(r, 2) : 0,
                          .count = 1,
                          .tree = tree,
                          .index = index,
                          .crc = (uint32_t)rng_below(r, UINT32_MAX)};

        if (type == RECORD_DISCARD)
                it.count = 1 + (uint32_t)rng_below(r, 1000);
        else
                it.data = (uint8_t *)(uintptr_t)any_data;
        if (type == RECORD_MOVE) {
                it.from_generation = 1 + (uint32_t)rng_below(r, 2);
                it.from = addr_make((uint32_t)rng_below(r, 2), (uint32_t)rng_below(r, 1 << 28));
        }
        return it;
}

/* Runs of all lengths, far and near, of few trees and types. */
static void make_all(struct item *items, struct list *list, struct rng *r)
{
        static const uint64_t reach[] = {
            30, 300, 70000, UINT64_C(1) << 30, UINT64_C(1) << 37, UINT64_MAX};
        static const uint8_t types[] = {RECORD_WRITE, RECORD_WRITE, RECORD_WRITE,
                                        RECORD_MOVE,  RECORD_PAGE,  RECORD_DISCARD};
        uint64_t far = reach[rng_below(r, 6)];

        list_init(list);
        for (int n = 0; n < ITEMS;) {
                uint64_t index = rng_below(r, far), tree = 7 + rng_below(r, 2);
                uint8_t type = types[rng_below(r, 6)];
                int length = rng_chance(r, 1, 4) ? 1 + (int)rng_below(r, 40) : 1;
                for (; length && n < ITEMS; length--, n++) {
                        items[n] = make(type, tree, index++, r);
                        list_add_tail(list, &items[n].node);
                }
        }
}

static bool same_block(const struct record *rec, uint32_t i, const struct item *it)
{
        uint64_t from;
        uint32_t generation;

        if (record_index(rec, i) != it->index || record_crc(rec, i) != it->crc)
                return false;
        if (rec->type != RECORD_MOVE)
                return true;
        record_from(rec, i, &from, &generation);
        return from == it->from && generation == it->from_generation;
}

/* How many items the records name, if all is as it was. */
static uint32_t compare(const uint8_t *buf, uint32_t bytes, const struct item *items,
                        uint32_t nrecords)
{
        struct record rec;
        uint32_t pos = 0, data = 0, n = 0, blocks = 0, seen = 0;
        bool same = true;

        while (record_next(buf, bytes, &pos, &data, &rec) > 0) {
                const struct item *first = &items[n];
                same = same && rec.type == first->type && rec.tree == first->tree &&
                       rec.level == first->level && rec.data == blocks;
                uint32_t here = record_data_blocks(rec.type, rec.count);
                for (uint32_t i = 0; same && i < here; i++)
                        same = same_block(&rec, i, &items[n + i]);
                if (!here)
                        same = same && rec.count == first->count && rec.index == first->index;
                n += here ? here : 1;
                blocks += here;
                seen++;
        }
        return same && pos == bytes && data == blocks && seen == nrecords ? n : 0;
}

static void test_what_is_encoded_comes_back(void)
{
        static struct item items[ITEMS];
        static uint8_t buf[BUF];
        struct rng r = {815};
        struct list list;

        for (int round = 0; round < 500; round++) {
                uint32_t bytes = 0, alone = 0;
                struct record_plan plan = {0};
                make_all(items, &list, &r);
                for (int i = 0; i < ITEMS; i++) {
                        struct record_plan single = {0};
                        record_plan_add(&plan, &items[i]);
                        record_plan_add(&single, &items[i]);
                        alone += record_plan_bytes(&single);
                }
                uint32_t n = records_encode(&list, buf, &bytes);
                CU_ASSERT_EQUAL_FATAL(record_plan_bytes(&plan), bytes);
                CU_ASSERT_TRUE_FATAL(bytes <= alone);
                CU_ASSERT_EQUAL_FATAL(compare(buf, bytes, items, n), ITEMS);
        }
}

static void test_a_plan_is_right_at_every_step(void)
{
        static struct item items[ITEMS];
        static uint8_t buf[BUF];
        struct rng r = {4};
        struct list list, some;
        struct record_plan plan = {0};

        make_all(items, &list, &r);
        list_init(&some);
        for (int i = 0; i < ITEMS; i++) {
                uint32_t bytes;
                list_del(&items[i].node);
                list_add_tail(&some, &items[i].node);
                record_plan_add(&plan, &items[i]);
                uint32_t n = records_encode(&some, buf, &bytes);
                CU_ASSERT_EQUAL_FATAL(record_plan_bytes(&plan), bytes);
                CU_ASSERT_EQUAL_FATAL(compare(buf, bytes, items, n), (uint32_t)i + 1);
        }
}

/* Bytes of n blocks of that type, of which block i has index(i). */
static uint32_t bytes_of(uint8_t type, uint32_t n, uint64_t (*index)(uint32_t i))
{
        struct record_plan plan = {0};
        static struct item items[ITEMS];
        struct rng r = {1};

        for (uint32_t i = 0; i < n; i++) {
                items[i] = make(type, 7, index(i), &r);
                items[i].level = 0;
                items[i].from_generation = 1;
                items[i].from = addr_make(3, i);
                record_plan_add(&plan, &items[i]);
        }
        return record_plan_bytes(&plan);
}

static uint64_t in_a_tib(uint32_t i)
{
        return (uint64_t)i * 2654435761u % (1u << 28);
}

static uint64_t in_order(uint32_t i)
{
        return i;
}

static uint64_t far_apart(uint32_t i)
{
        return (uint64_t)(i & 1) << 40;
}

static void test_scattered_blocks_take_few_bytes(void)
{
        CU_ASSERT_EQUAL(bytes_of(RECORD_WRITE, 1, in_a_tib), 24 + 4);
        CU_ASSERT_EQUAL(bytes_of(RECORD_WRITE, 100, in_a_tib), 24 + 100 * (4 + 4));
        CU_ASSERT_EQUAL(bytes_of(RECORD_WRITE, 100, in_order), 24 + 100 * 4);
        CU_ASSERT_EQUAL(bytes_of(RECORD_MOVE, 100, in_a_tib), 24 + 8 + 100 * (4 + 4 + 4));
        CU_ASSERT_EQUAL(bytes_of(RECORD_PAGE, 100, in_a_tib), 24 + 100 * (4 + 4));
        CU_ASSERT_EQUAL(bytes_of(RECORD_WRITE, 4, far_apart), 4 * (24 + 4));
}

static const struct t_case cases[] = {
    T_CASE(test_what_is_encoded_comes_back),
    T_CASE(test_a_plan_is_right_at_every_step),
    T_CASE(test_scattered_blocks_take_few_bytes),
};
T_MAIN("pool encode", cases)
