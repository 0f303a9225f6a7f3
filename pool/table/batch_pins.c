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

/* The tree whose pages the record wants, the kth of them. What it names may be on its way to its
 * heir, or there. */
static struct tree *wanted(struct pool *pool, const struct record *rec, uint32_t k)
{
        bool follows = rec->type == RECORD_WRITE || rec->type == RECORD_MOVE;
        struct tree *t = pool_tree(pool, follows ? alias_resolve(pool, rec->tree) : rec->tree);

        for (; t && k; k--)
                t = follows || rec->type == RECORD_MERGE ? tree_heir(t) : NULL;
        return t;
}

/* Pieces the record is looked at in: ranges, or blocks where these are scattered. */
static uint32_t pieces(const struct record *rec)
{
        return rec->index_bytes ? rec->count : 1;
}

/* What the piece of the record needs, the kth of it. False: no more. */
static bool needs(struct pool *pool, const struct record *rec, uint32_t piece, uint32_t k,
                  struct pin *ret_pin, struct tree **ret_tree)
{
        uint64_t reach = 1, index = rec->index_bytes ? record_index(rec, piece) : rec->index;
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
        case RECORD_MERGE:
                break;
        default:
                return false;
        }
        *ret_tree = wanted(pool, rec, k);
        if (!*ret_tree || !(*ret_tree)->vol || index >= VOLUME_MAX_BYTES / ZP_BLOCK / reach + 1)
                return false;
        *ret_pin =
            (struct pin){.first = index * reach,
                         .end = (index + (rec->index_bytes ? 1 : rec->count)) * reach,
                         .level = level,
                         .now = true,
                         .chain = !k && (rec->type == RECORD_DISCARD || rec->type == RECORD_MERGE),
                         .ready = pin_ready};
        return true;
}

static void take_piece(struct batch_pins *b, const struct record *rec, uint32_t piece, uint32_t n)
{
        struct tree *t;

        for (uint32_t k = 0; b->n < n && needs(b->pool, rec, piece, k, &b->pins[b->n], &t); k++) {
                struct pin *p = &b->pins[b->n++];
                p->ctx = b;
                b->loading += !pin_take(b->pool, t, p);
        }
}

bool batch_pins_take(struct pool *pool, const uint8_t *records, uint32_t bytes,
                     void (*ready)(struct batch_pins *b), void *ctx, struct batch_pins **ret_pins)
{
        struct record rec;
        struct tree *t;
        struct pin pin;
        uint32_t n = 0, pos = 0, data = 0;

        while (record_next(records, bytes, &pos, &data, &rec) > 0)
                for (uint32_t i = 0; i < pieces(&rec); i++)
                        for (uint32_t k = 0; needs(pool, &rec, i, k, &pin, &t); k++)
                                n++;
        struct batch_pins *b = pool_alloc(pool, sizeof(*b) + n * sizeof(*b->pins));
        *ret_pins = b;
        if (!b)
                return false;
        b->pool = pool;
        b->ready = ready;
        b->ctx = ctx;
        b->loading = 1;
        pos = data = 0;
        while (b->n < n && record_next(records, bytes, &pos, &data, &rec) > 0)
                for (uint32_t i = 0; i < pieces(&rec); i++)
                        take_piece(b, &rec, i, n);
        return !--b->loading;
}

bool batch_pins_range(struct pool *pool, struct tree *t, uint64_t first, uint64_t end,
                      void (*ready)(struct batch_pins *b), void *ctx, struct batch_pins **ret_pins)
{
        struct batch_pins *b = pool_alloc(pool, sizeof(*b) + sizeof(*b->pins));

        *ret_pins = b;
        if (!b)
                return false;
        b->pool = pool;
        b->ready = ready;
        b->ctx = ctx;
        b->n = b->loading = 1;
        b->pins[0] =
            (struct pin){.first = first, .end = end, .now = true, .ready = pin_ready, .ctx = b};
        b->loading += !pin_take(pool, t, &b->pins[0]);
        return !--b->loading;
}

void batch_pins_free(struct batch_pins *b)
{
        for (uint32_t i = 0; b && i < b->n; i++)
                pin_drop(&b->pins[i]);
        pool_release(b);
}
