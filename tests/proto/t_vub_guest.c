/* The guest's rings: see t_vub.h. */
#include "t_vub.h"

#include "base/le.h"

void t_desc(struct t_peer *p, uint64_t table, uint16_t i, uint64_t gpa, uint32_t len,
            uint16_t flags, uint16_t next)
{
        uint8_t *d = p->mem + table + 16 * i;
        put_le64(d, gpa);
        put_le32(d + 8, len);
        put_le16(d + 12, flags);
        put_le16(d + 14, next);
}

uint16_t t_chain(struct t_peer *p, unsigned ring, const struct t_buf *bufs, int n)
{
        struct t_queue *q = &p->q[ring];
        uint16_t head = q->next_desc;

        for (int i = 0; i < n; i++) {
                uint16_t next = (uint16_t)((q->next_desc + 1) % q->num);
                t_desc(p, q->desc, q->next_desc, bufs[i].gpa, bufs[i].len,
                       (uint16_t)((bufs[i].write ? T_WRITE : 0) | (i + 1 < n ? T_NEXT : 0)), next);
                q->next_desc = next;
        }
        return head;
}

uint16_t t_chain_indirect(struct t_peer *p, unsigned ring, uint64_t table, const struct t_buf *bufs,
                          int n)
{
        struct t_queue *q = &p->q[ring];
        uint16_t head = q->next_desc;

        for (int i = 0; i < n; i++)
                t_desc(p, table, (uint16_t)i, bufs[i].gpa, bufs[i].len,
                       (uint16_t)((bufs[i].write ? T_WRITE : 0) | (i + 1 < n ? T_NEXT : 0)),
                       (uint16_t)(i + 1));
        t_desc(p, q->desc, head, table, (uint32_t)n * 16, T_INDIRECT, 0);
        q->next_desc = (uint16_t)((head + 1) % q->num);
        return head;
}

void t_offer(struct t_peer *p, unsigned ring, uint16_t head)
{
        struct t_queue *q = &p->q[ring];
        put_le16(p->mem + q->avail + 4 + 2 * (q->avail_idx % q->num), head);
        q->avail_idx++;
        __atomic_store_n((uint16_t *)(void *)(p->mem + q->avail + 2), htole16(q->avail_idx),
                         __ATOMIC_SEQ_CST);
}

void t_kick(struct t_peer *p, unsigned ring)
{
        uint64_t one = 1;
        if (write(p->q[ring].kick, &one, sizeof(one)) != sizeof(one))
                t_die("kick");
}

uint16_t t_used_idx(struct t_peer *p, unsigned ring)
{
        return le16toh(
            __atomic_load_n((uint16_t *)(void *)(p->mem + p->q[ring].used + 2), __ATOMIC_SEQ_CST));
}

bool t_used(struct t_peer *p, unsigned ring, uint32_t *ret_id, uint32_t *ret_len)
{
        struct t_queue *q = &p->q[ring];
        if (t_used_idx(p, ring) == q->used_seen)
                return false;
        const uint8_t *elem = p->mem + q->used + 4 + 8 * (q->used_seen++ % q->num);
        *ret_id = get_le32(elem);
        *ret_len = get_le32(elem + 4);
        return true;
}

uint64_t t_signals(int fd)
{
        uint64_t n = 0;
        return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

uint64_t t_header_gpa(unsigned slot)
{
        return 0x110000 + 16 * (uint64_t)slot;
}

uint64_t t_status_gpa(unsigned slot)
{
        return 0x118000 + (uint64_t)slot;
}

void t_header(struct t_peer *p, uint64_t gpa, uint32_t type, uint64_t sector)
{
        put_le32(p->mem + gpa, type);
        put_le32(p->mem + gpa + 4, 0);
        put_le64(p->mem + gpa + 8, sector);
}

uint16_t t_request(struct t_peer *p, unsigned ring, unsigned slot, uint32_t type, uint64_t sector,
                   uint64_t data, uint32_t len)
{
        bool in = type == T_IN || type == T_GET_ID;
        struct t_buf bufs[3] = {{t_header_gpa(slot), 16, false}, {data, len, in}};
        int n = len > 0 ? 2 : 1;

        bufs[n++] = (struct t_buf){t_status_gpa(slot), 1, true};
        t_header(p, t_header_gpa(slot), type, sector);
        p->mem[t_status_gpa(slot)] = 0xff;
        return t_chain(p, ring, bufs, n);
}

int t_do(struct t_peer *p, unsigned ring, uint32_t type, uint64_t sector, uint64_t data,
         uint32_t len)
{
        uint32_t id, used_len;
        uint16_t head = t_request(p, ring, 0, type, sector, data, len);

        t_offer(p, ring, head);
        t_kick(p, ring);
        if (!T_UNTIL(p->rig, t_used_idx(p, ring) != p->q[ring].used_seen))
                return -1;
        t_used(p, ring, &id, &used_len);
        T_CHECK(id == head);
        return p->mem[t_status_gpa(0)];
}
