/* Pins for the records of a batch, see batch_pins.h. */
#include "pool/table/batch_pins.h"
#include "pool/internal.h"

static void pin_ready(struct pin *pin, int status)
{
        struct batch_pins *b = pin->ctx;

        if (status < 0 && b->status == 0)
                b->status = status;
        if (!--b->loading)
                b->ready(b);
}

/* What the record needs. False: nothing. */
static bool needs(struct pool *pool, const struct record *rec, struct pin *ret_pin,
                  struct tree **ret_tree)
{
        uint64_t reach = 1, index = rec->index;
        uint8_t level = 0;

        switch (rec->type) {
        case RECORD_PAGE:
                if (rec->level >= MAX_HEIGHT)
                        return false;
                level = rec->level;
                reach = table_reach(level + 1u);
                break;
        case RECORD_WRITE:
        case RECORD_MOVE:
        case RECORD_DISCARD:
                break;
        default:
                return false;
        }
        *ret_tree = pool_tree(pool, rec->tree);
        if (!*ret_tree || !(*ret_tree)->vol || index >= VOLUME_MAX_BYTES / ZP_BLOCK / reach + 1)
                return false;
        *ret_pin = (struct pin){.first = index * reach,
                                .end = (index + rec->count) * reach,
                                .level = level,
                                .now = true,
                                .ready = pin_ready};
        return true;
}

bool batch_pins_take(struct pool *pool, const uint8_t *records, uint32_t bytes,
                     void (*ready)(struct batch_pins *b), void *ctx, struct batch_pins **ret_pins)
{
        struct record rec;
        struct tree *t;
        struct pin pin;
        uint32_t n = 0, pos = 0, data = 0;

        while (record_next(records, bytes, &pos, &data, &rec) > 0)
                n += needs(pool, &rec, &pin, &t);
        struct batch_pins *b = pool_alloc(pool, sizeof(*b) + n * sizeof(*b->pins));
        *ret_pins = b;
        if (!b)
                return false;
        b->pool = pool;
        b->ready = ready;
        b->ctx = ctx;
        b->loading = 1;
        pos = data = 0;
        while (b->n < n && record_next(records, bytes, &pos, &data, &rec) > 0) {
                struct pin *p = &b->pins[b->n];
                if (!needs(pool, &rec, p, &t))
                        continue;
                p->ctx = b;
                b->n++;
                b->loading += !pin_take(pool, t, p);
        }
        return !--b->loading;
}

void batch_pins_free(struct batch_pins *b)
{
        for (uint32_t i = 0; b && i < b->n; i++)
                pin_drop(&b->pins[i]);
        pool_release(b);
}
