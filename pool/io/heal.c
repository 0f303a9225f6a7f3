/* Healing: a block that some member of its group has lost is written anew while another one has it.
 * It is moved like the cleaner moves blocks: the entry changes only if it still names the old
 * place. */
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include <string.h>

struct heal {
        struct pin pin; /* of the block, until it is moved */
        struct pool *pool;
        struct item *item;
        int dev; /* that had it wrong; -1: nobody's fault */
        void (*done)(void *ctx, bool healed); /* may be NULL */
        void *ctx;
};

static void end(struct heal *h, bool healed)
{
        if (h->done)
                h->done(h->ctx, healed);
        pool_release(h);
}

static void healed(struct item *it, int status)
{
        struct heal *h = it->ctx;
        struct pool *pool = h->pool;
        struct tree *t = h->pin.tree;

        if (status == 0 && h->dev >= 0) { /* else it is found again by the next read */
                pool->healed++;
                pool_event_send(pool, POOL_EVENT_HEALED, 0, (uint32_t)h->dev, t ? t->vol : NULL,
                                it->index);
        }
        pin_drop(&h->pin);
        end(h, status == 0);
}

static void page_there(struct pin *pin, int status);

static void look_in(struct heal *h, struct tree *t)
{
        h->item->tree = t->id;
        if (pin_take(h->pool, t, &h->pin))
                page_there(&h->pin, 0);
}

/* The block is a volume's own, or one of the tree it was frozen or cloned from. */
static void page_there(struct pin *pin, int status)
{
        struct heal *h = container_of(pin, struct heal, pin);
        struct tree *t = pin->tree;

        if (status == 0 && t && tree_get(t, h->item->index).addr == h->item->from) {
                uint8_t copies = h->pool->groups[addr_group(h->item->from)]->copies;
                stream_add(pool_stream(h->pool, CLASS_CLEAN, copies), h->item);
                return;
        }
        pin_drop(pin); /* harmless when it is dropped already */
        if (status == 0 && t && t->up) {
                look_in(h, t->up);
                return;
        }
        item_free(h->pool, h->item); /* overwritten meanwhile */
        end(h, false);
}

bool heal_block(struct pool *pool, struct tree *t, uint64_t index, struct entry e,
                const uint8_t *buf, unsigned bad, void *ctx, void (*done)(void *ctx, bool healed))
{
        const struct group *g = pool->groups[addr_group(e.addr)];
        int k = bad ? __builtin_ctz(bad) : -1;
        struct heal *h;

        /* a device that is gone is no reason: its groups are rebuilt */
        if (!pool->running || pool->readonly ||
            (k >= 0 && !pdev_usable(member_dev(pool, g, (unsigned)k))))
                return false;
        h = pool_alloc(pool, sizeof(*h));
        if (h)
                h->item = item_move(pool, t->id, index, e, buf);
        if (!h || !h->item) {
                pool_release(h);
                return false;
        }
        h->done = done;
        h->ctx = ctx;
        h->item->done = healed;
        h->item->ctx = h;
        h->pool = pool;
        h->dev = k >= 0 ? g->member[k].dev : -1;
        h->pin.first = index;
        h->pin.end = index + 1;
        h->pin.now = true;
        h->pin.ready = page_there;
        look_in(h, t);
        return true;
}
