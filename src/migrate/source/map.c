/* The map of what is allocated, by Get LBA Status, into the bitmap of what the target lacks. */
#include "base/eventlog.h"
#include "migrate/source/internal.h"

static void map_done(struct engine_cmd *c)
{
        struct source *s = c->owner;
        struct source_volume *v = &s->v[c->index];
        uint32_t n = get_le32(v->map_buf);
        uint64_t next = 0;

        if (!s->g) {
                v->mapping = false;
                return;
        }
        if (c->req.status) {
                v->mapping = false;
                source_fail(s, "the allocation map of %s cannot be read: %s",
                            owner_volume_name(v->mv->owner), migrate_nvme_text(c->req.status));
                return;
        }
        for (uint32_t i = 0; i < n && 8 + (size_t)(i + 1) * 16 <= SOURCE_MAP_BYTES; i++) {
                const uint8_t *d = v->map_buf + 8 + (size_t)i * 16;
                uint64_t first = get_le64(d), len = (uint64_t)get_le32(d + 8) + 1;
                if (first >= v->dirty.nbits)
                        break;
                len = MIN(len, v->dirty.nbits - first);
                bitmap_set_range(&v->dirty, first, len);
                next = first + len;
        }
        if (v->map_buf[4] == 1 && n && next < v->dirty.nbits) {
                source_map(v, next);
        } else {
                v->mapping = false;
                v->mapped = true;
                if (source_all_mapped(s)) {
                        s->pass_left = source_remaining(s);
                        eventlog_emit("migrate-mapped", "\"allocated_bytes\":%llu",
                                      (unsigned long long)(s->pass_left * PEER_BLOCK));
                        source_send_progress(s);
                }
        }
        loop_defer(s->m->s.loop, &s->kick);
}

void source_map(struct source_volume *v, uint64_t slba)
{
        uint8_t *sqe = v->map_cmd.req.sqe;

        v->mapping = true;
        nvme_sqe_init(sqe, NVME_ADMIN_GET_LBA_STATUS, v->mv->spec.nsid);
        nvme_sqe_set_cdw64(sqe, 10, slba);
        nvme_sqe_set_cdw(sqe, 12, SOURCE_MAP_BYTES / 4 - 1);
        nvme_sqe_set_cdw(sqe, 13, (uint32_t)NVME_ATYPE_ALLOCATED << 24);
        v->map_cmd.req.data = v->map_buf;
        v->map_cmd.req.data_len = SOURCE_MAP_BYTES;
        source_submit(v->s, &v->map_cmd, v->index, map_done);
}
