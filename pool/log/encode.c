/* Encoding of records (header.h has the table).
 *
 * Blocks of one tree and type that follow each other make a run. A long run is a record of its own,
 * with a checksum a block; short ones that stand one behind the other go into one record together,
 * with the index beside each block. The plan says what that takes while the batch is gathered; the
 * same steps write it. */
#include "pool/log/encode.h"
#include "pool/internal.h"

#include "base/le.h"

#include <string.h>

/* From here on the fixed part of two more records costs less than the indices do. */
enum { LONG_RUN = 16 };

static bool joins(const struct item *prev, const struct item *it)
{
        return prev && prev->data && it->data && prev->type == it->type && prev->tree == it->tree &&
               prev->level == it->level &&
               (it->type != RECORD_MOVE || (prev->from_generation == it->from_generation &&
                                            addr_group(prev->from) == addr_group(it->from)));
}

static uint32_t bytes_for(uint64_t number)
{
        uint32_t n = 1;

        while (number >>= 8)
                n++;
        return n;
}

/* w; more than RECORD_INDEX_MAX: they are too far apart for one record. */
static uint32_t index_bytes(const struct record_part *p)
{
        return p->runs > 1 ? bytes_for(p->highest - p->lowest) : 0;
}

static struct record_part joined(const struct record_part *a, const struct record_part *b)
{
        if (!a->n)
                return *b;
        return (struct record_part){.first = a->first,
                                    .n = a->n + b->n,
                                    .runs = a->runs + b->runs,
                                    .lowest = MIN(a->lowest, b->lowest),
                                    .highest = MAX(a->highest, b->highest)};
}

static uint32_t part_count(const struct record_part *p)
{
        return p->first->data ? p->n : p->first->count;
}

static uint32_t part_bytes(const struct record_part *p)
{
        return RECORD_FIXED +
               record_payload_bytes(p->first->type, (uint8_t)index_bytes(p), part_count(p));
}

static uint8_t *write_block(const struct item *it, uint64_t beyond, uint32_t width, uint8_t *p)
{
        for (uint32_t k = 0; k < width; k++)
                *p++ = (uint8_t)(beyond >> (8 * k));
        put_le32(p, it->crc);
        p += 4;
        if (it->type == RECORD_MOVE) {
                put_le32(p, addr_offset(it->from));
                p += 4;
        }
        return p;
}

static void write_part(const struct record_part *part, uint8_t *p)
{
        const struct item *it = part->first;
        uint32_t width = index_bytes(part);

        memset(p, 0, RECORD_FIXED);
        put_u8(p, it->type);
        put_u8(p + 1, it->level);
        put_u8(p + 2, (uint8_t)width);
        put_le32(p + 4, part_count(part));
        put_le64(p + 8, it->tree);
        put_le64(p + 16, part->lowest);
        p += RECORD_FIXED;
        if (!it->data) {
                if (it->payload)
                        memcpy(p, it->payload, it->count);
                return;
        }
        if (it->type == RECORD_MOVE) {
                put_le32(p, it->from_generation);
                put_le32(p + 4, addr_group(it->from));
                p += RECORD_MOVE_LEAD;
        }
        for (uint32_t i = 0; i < part->n; i++) {
                p = write_block(it, it->index - part->lowest, width, p);
                it = list_entry(it->node.next, struct item, node);
        }
}

static void complete(struct record_plan *plan, struct record_part *part)
{
        if (!part->n)
                return;
        if (plan->buf)
                write_part(part, plan->buf + plan->bytes);
        plan->bytes += part_bytes(part);
        plan->nrecords++;
        part->n = 0;
}

/* The run has ended: what is scattered has it, or is complete. */
static void end_run(struct record_plan *plan)
{
        struct record_part both = joined(&plan->scattered, &plan->run);

        if (plan->run.n < LONG_RUN && index_bytes(&both) <= RECORD_INDEX_MAX) {
                plan->scattered = both;
        } else {
                complete(plan, &plan->scattered);
                if (plan->run.n < LONG_RUN)
                        plan->scattered = plan->run;
                else
                        complete(plan, &plan->run);
        }
        plan->run.n = 0;
}

static void end_all(struct record_plan *plan)
{
        if (plan->run.n)
                end_run(plan);
        complete(plan, &plan->scattered);
}

void record_plan_add(struct record_plan *plan, const struct item *it)
{
        bool same = joins(plan->last, it);

        if (same && plan->last->index + 1 == it->index) {
                plan->run.n++;
                plan->run.highest++;
        } else {
                if (same)
                        end_run(plan);
                else
                        end_all(plan);
                plan->run = (struct record_part){
                    .first = it, .n = 1, .runs = 1, .lowest = it->index, .highest = it->index};
        }
        plan->last = it;
}

uint32_t record_plan_bytes(const struct record_plan *plan)
{
        struct record_plan copy = *plan;

        copy.buf = NULL;
        end_all(&copy);
        return copy.bytes;
}

uint32_t records_encode(const struct list *items, uint8_t *buf, uint32_t *ret_bytes)
{
        struct record_plan plan = {.buf = buf};
        const struct item *it;

        list_for_each (it, items, node)
                record_plan_add(&plan, it);
        end_all(&plan);
        *ret_bytes = plan.bytes;
        return plan.nrecords;
}
