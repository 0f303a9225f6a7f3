/* What users see of an imported pool, see look.h. */
#include "tests/sim/exhaustive/look.h"

#include "base/cleanup.h"
#include "pool/inspect.h"
#include "tests/sim/exhaustive/case.h"

#include <string.h>

enum { READ_BLOCKS = 32 };

struct reader {
        struct volume_io io;
        struct iovec iov;
        bool done;
        int status;
        uint8_t buf[READ_BLOCKS * ZP_BLOCK];
};

static void read_done(struct volume_io *io, int status)
{
        struct reader *r = container_of(io, struct reader, io);
        r->done = true;
        r->status = status;
}

static int read_blocks(struct stage *s, struct volume *vol, uint32_t first, uint32_t n,
                       struct reader *r)
{
        r->done = false;
        r->iov = (struct iovec){r->buf, (size_t)n * ZP_BLOCK};
        r->io = (struct volume_io){.op = VOLUME_READ,
                                   .offset_bytes = (uint64_t)first * ZP_BLOCK,
                                   .length_bytes = (uint64_t)n * ZP_BLOCK,
                                   .iov = &r->iov,
                                   .niov = 1,
                                   .done = read_done};
        volume_submit(vol, &r->io);
        stage_run(s, &r->done, "a read");
        return r->status;
}

static void look_at_blocks(struct stage *s, struct volume *vol, unsigned number, bool errors_fair,
                           struct volume_outcome *v)
{
        static struct reader r;
        for (uint32_t first = 0; first < v->nblocks;) {
                uint32_t n = MIN((uint32_t)READ_BLOCKS, v->nblocks - first);
                int status = read_blocks(s, vol, first, n, &r);
                if (status < 0 && !errors_fair)
                        case_fail("volume %u: read of blocks %u+%u ended with %d (%s)", number,
                                  first, n, status, strerror(-status));
                if (status < 0) { /* one by one: the others must be readable, or say so as well */
                        n = 1;
                        status = read_blocks(s, vol, first, n, &r);
                }
                for (uint32_t i = 0; i < n; i++)
                        v->tags[first + i] = status < 0 ? TAG_UNREADABLE
                                                        : content_tag(number, first + i,
                                                                      r.buf + (size_t)i * ZP_BLOCK);
                first += n;
        }
}

static unsigned number_of(const struct volume *vol)
{
        for (unsigned i = 0; i < MAX_VOLUMES; i++) {
                struct uuid uuid = volume_uuid_of(i);
                if (uuid_equal(&uuid, volume_uuid(vol)))
                        return i;
        }
        case_fail("volume %s is there and was never made", volume_name(vol));
}

static uint16_t reserved_blocks(struct volume *vol)
{
        struct volume_info info;
        volume_get_info(vol, &info);
        return (uint16_t)(info.reserved_bytes / ZP_BLOCK);
}

static void look_at_one(struct stage *s, struct volume *vol, bool snapshot, bool errors_fair,
                        struct outcome *ret_outcome)
{
        unsigned number = number_of(vol);
        struct volume_outcome *v = &ret_outcome->volumes[number];
        size_t len;
        const uint8_t *owner = volume_owner(vol, &len);
        if (v->there)
                case_fail("volume %u is there twice", number);
        v->there = true;
        v->owner = len ? owner[0] : 0;
        v->reserved = snapshot ? 0 : reserved_blocks(vol);
        v->nblocks = (uint16_t)(volume_size_bytes(vol) / ZP_BLOCK);
        if (v->nblocks > MAX_BLOCKS)
                case_fail("volume %u has %u blocks", number, v->nblocks);
        look_at_blocks(s, vol, number, errors_fair, v);
}

/* Reading changes nothing but where blocks are, so handles stay what they are meanwhile. */
void look_at(struct stage *s, bool errors_fair, struct outcome *ret_outcome)
{
        struct err err = ERR_INIT;
        memset(ret_outcome, 0, sizeof(*ret_outcome));
        if (pool_inspect_check(s->pool, &err) < 0)
                case_fail("the books: %s", err.msg);
        for (struct volume *vol = volume_next(s->pool, NULL); vol;
             vol = volume_next(s->pool, vol)) {
                look_at_one(s, vol, false, errors_fair, ret_outcome);
                for (struct volume *snap = snapshot_next(vol, NULL); snap;
                     snap = snapshot_next(vol, snap))
                        look_at_one(s, snap, true, errors_fair, ret_outcome);
        }
        if (pool_inspect_check(s->pool, &err) < 0)
                case_fail("the books after reading: %s", err.msg);
}
