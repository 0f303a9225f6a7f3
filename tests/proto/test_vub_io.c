/* Requests through the rings: what the guest reads and writes is what the disk holds. */
#include "t_vub.h"

#include "base/le.h"

#include <errno.h>

static struct t_rig rig;
static struct t_peer peer;

static void up(uint64_t features, uint16_t num)
{
        t_rig_up(&rig);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, features);
        t_start_queue(&peer, 0, num, 0);
}

static void down(void)
{
        t_peer_free(&peer);
        t_rig_down(&rig);
}

static void pattern(uint8_t *p, size_t n, unsigned seed)
{
        for (size_t i = 0; i < n; i++)
                p[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

static void test_writes_and_reads_back(void)
{
        up(T_FEATURES, 16);
        pattern(peer.mem + T_DATA, 8192, 1);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_OUT, 3, T_DATA, 8192), T_OK);
        CU_ASSERT_EQUAL(memcmp(rig.disk.data + 3 * 512, peer.mem + T_DATA, 8192), 0);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_IN, 3, T_DATA + 0x10000, 8192), T_OK);
        CU_ASSERT_EQUAL(memcmp(peer.mem + T_DATA + 0x10000, peer.mem + T_DATA, 8192), 0);
        down();
}

static void test_used_length_counts_what_was_written(void)
{
        static const struct {
                uint32_t type, len, used;
        } cases[] = {
            {T_IN, 4096, 4097}, {T_OUT, 4096, 1}, {T_FLUSH, 0, 1}, {T_GET_ID, 20, 21}, {77, 0, 1}};
        up(T_FEATURES, 16);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint32_t id, len;
                t_offer(&peer, 0, t_request(&peer, 0, 0, cases[i].type, 0, T_DATA, cases[i].len));
                t_kick(&peer, 0);
                T_UNTIL(&rig, t_used(&peer, 0, &id, &len));
                CU_ASSERT_EQUAL(len, cases[i].used);
        }
        down();
}

static void test_indirect_and_mixed_chains(void)
{
        struct t_buf bufs[] = {{t_header_gpa(0), 16, false},
                               {T_DATA, 512, false},
                               {T_DATA + 0x3000, 1024, false},
                               {t_status_gpa(0), 1, true}};
        uint32_t id, len;

        up(T_FEATURES, 16);
        pattern(peer.mem + T_DATA, 0x4000, 3);
        t_header(&peer, t_header_gpa(0), T_OUT, 8);
        t_offer(&peer, 0, t_chain_indirect(&peer, 0, T_DATA + 0x8000, bufs, 4));
        t_kick(&peer, 0);
        T_UNTIL(&rig, t_used(&peer, 0, &id, &len));
        CU_ASSERT_EQUAL(memcmp(rig.disk.data + 4096, peer.mem + T_DATA, 512), 0);
        CU_ASSERT_EQUAL(memcmp(rig.disk.data + 4096 + 512, peer.mem + T_DATA + 0x3000, 1024), 0);

        /* The header direct, the rest indirect; the write flag on the indirect one is ignored. */
        t_header(&peer, t_header_gpa(0), T_OUT, 16);
        uint16_t head = t_chain(&peer, 0, bufs, 1),
                 rest = t_chain_indirect(&peer, 0, T_DATA + 0x8000, bufs + 1, 3);
        t_desc(&peer, peer.q[0].desc, head, t_header_gpa(0), 16, T_NEXT, rest);
        t_desc(&peer, peer.q[0].desc, rest, T_DATA + 0x8000, 48, T_INDIRECT | T_WRITE, 0);
        t_offer(&peer, 0, head);
        t_kick(&peer, 0);
        T_UNTIL(&rig, t_used(&peer, 0, &id, &len));
        CU_ASSERT_EQUAL(id, head);
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(0)], T_OK);
        CU_ASSERT_EQUAL(memcmp(rig.disk.data + 8192 + 512, peer.mem + T_DATA + 0x3000, 1024), 0);
        down();
}

/* Any layout: the header in pieces, data and status in one buffer, a seam of the memory table. */
static void test_any_layout_across_the_seam(void)
{
        uint64_t h = t_header_gpa(0);
        struct t_buf read_bufs[] = {{h, 5, false}, {h + 5, 11, false}, {T_SEAM - 700, 1537, true}};
        struct t_buf write_bufs[] = {{h, 8, false},
                                     {h + 8, 8, false},
                                     {T_SEAM - 100, 512, false},
                                     {t_status_gpa(0), 1, true}};
        uint32_t id, len;

        up(T_FEATURES, 16);
        pattern(rig.disk.data, 1536, 9);
        peer.mem[T_SEAM - 700 + 1536] = 0xff;
        t_header(&peer, h, T_IN, 0);
        t_offer(&peer, 0, t_chain(&peer, 0, read_bufs, 3));
        t_kick(&peer, 0);
        T_UNTIL(&rig, t_used(&peer, 0, &id, &len));
        CU_ASSERT_EQUAL(len, 1537);
        CU_ASSERT_EQUAL(memcmp(rig.disk.data, peer.mem + T_SEAM - 700, 1536), 0);
        CU_ASSERT_EQUAL(peer.mem[T_SEAM - 700 + 1536], T_OK);

        t_header(&peer, h, T_OUT, 100);
        t_offer(&peer, 0, t_chain(&peer, 0, write_bufs, 4));
        t_kick(&peer, 0);
        T_UNTIL(&rig, t_used(&peer, 0, &id, &len));
        CU_ASSERT_EQUAL(memcmp(rig.disk.data + 51200, peer.mem + T_SEAM - 100, 512), 0);
        down();
}

static void test_faults_of_contents_are_answered(void)
{
        static const struct {
                uint32_t type;
                uint64_t sector;
                uint32_t len;
                int status;
        } cases[] = {
            {T_IN, T_DISK_BYTES / 512 - 1, 512, T_OK},
            {T_IN, T_DISK_BYTES / 512 - 1, 1024, T_IOERR},
            {T_IN, T_DISK_BYTES / 512, 512, T_IOERR},
            {T_OUT, UINT64_MAX, 512, T_IOERR},
            {T_OUT, UINT64_MAX / 512 + 1, 512, T_IOERR},
            {T_OUT, (UINT64_MAX >> 9) + 1, 512, T_IOERR},
            {T_OUT, 0, 511, T_IOERR},
            {T_OUT, 0, 0, T_IOERR},
            {T_IN, 0, 0, T_IOERR},
            {T_FLUSH, 0, 0, T_OK},
            {2, 0, 0, T_UNSUPP},
            {0xffffffff, 0, 512, T_UNSUPP},
            {T_DISCARD, 0, 0, T_IOERR},
            {T_DISCARD, 0, 15, T_IOERR},
            {T_ZEROES, 0, 17 * 16, T_IOERR},
        };
        up(T_FEATURES, 16);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                int status = t_do(&peer, 0, cases[i].type, cases[i].sector, T_DATA, cases[i].len);
                CU_ASSERT_EQUAL(status, cases[i].status);
                if (status != cases[i].status)
                        printf("case %zu: %d\n", i, status);
        }
        rig.disk.fail = -EIO;
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_OUT, 0, T_DATA, 512), T_IOERR);
        CU_ASSERT_EQUAL(rig.ntrouble, 0);
        down();
}

static void put_range(uint64_t gpa, uint64_t sector, uint32_t n, uint32_t flags)
{
        put_le64(peer.mem + gpa, sector);
        put_le32(peer.mem + gpa + 8, n);
        put_le32(peer.mem + gpa + 12, flags);
}

static void test_discard_and_write_zeroes(void)
{
        static const struct {
                uint32_t type, n, flags;
                uint64_t sector;
                int status;
        } cases[] = {
            {T_DISCARD, 8, 0, 8, T_OK},
            {T_DISCARD, 8, 1, 8, T_UNSUPP}, /* unmap means nothing here */
            {T_ZEROES, 8, 0, 8, T_OK},
            {T_ZEROES, 8, 1, 8, T_OK},
            {T_ZEROES, 8, 2, 8, T_UNSUPP},
            {T_DISCARD, 8, 0, T_DISK_BYTES / 512 - 7, T_IOERR},
            {T_DISCARD, UINT32_MAX, 0, 0, T_IOERR},
            {T_ZEROES, 1, 0, UINT64_MAX, T_IOERR},
            {T_DISCARD, 0, 0, 0, T_OK},
        };
        up(T_FEATURES, 16);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                memset(rig.disk.data, 0x55, T_DISK_BYTES);
                put_range(T_DATA, cases[i].sector, cases[i].n, cases[i].flags);
                CU_ASSERT_EQUAL(t_do(&peer, 0, cases[i].type, 0, T_DATA, 16), cases[i].status);
                bool zero = rig.disk.data[8 * 512] == 0 && rig.disk.data[16 * 512 - 1] == 0;
                CU_ASSERT_EQUAL(zero, cases[i].status == T_OK && cases[i].n > 0);
                CU_ASSERT_EQUAL(rig.disk.data[16 * 512], 0x55);
        }
        /* Sixteen ranges in one request; one bad one fails it before anything is done. */
        memset(rig.disk.data, 0x55, T_DISK_BYTES);
        for (unsigned i = 0; i < 16; i++)
                put_range(T_DATA + 16 * i, 16 * i, 8, 0);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_DISCARD, 0, T_DATA, 256), T_OK);
        for (unsigned i = 0; i < 16; i++)
                CU_ASSERT(rig.disk.data[i * 8192] == 0 && rig.disk.data[i * 8192 + 4096] == 0x55);
        unsigned before = rig.disk.nlog;
        put_range(T_DATA + 240, UINT64_MAX, 8, 0);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_DISCARD, 0, T_DATA, 256), T_IOERR);
        CU_ASSERT_EQUAL(rig.disk.nlog, before);
        down();
}

static void test_get_id_gives_the_option(void)
{
        up(T_FEATURES, 16);
        memset(peer.mem + T_DATA, 0xaa, 64);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_GET_ID, 0, T_DATA, 20), T_OK);
        CU_ASSERT_EQUAL(memcmp(peer.mem + T_DATA, "0123456789abcdefghij", 20), 0);
        CU_ASSERT_EQUAL(peer.mem[T_DATA + 20], 0xaa);
        memset(peer.mem + T_DATA, 0xaa, 64);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_GET_ID, 0, T_DATA, 7), T_OK);
        CU_ASSERT_EQUAL(peer.mem[T_DATA + 7], 0xaa);
        down();
}

static void test_without_flush_every_write_is_durable(void)
{
        static const uint64_t features[] = {T_FEATURES, T_FEATURES & ~VUB_F_BLK_FLUSH};
        for (unsigned i = 0; i < 2; i++) {
                up(features[i], 16);
                CU_ASSERT_EQUAL(t_do(&peer, 0, T_OUT, 0, T_DATA, 512), T_OK);
                put_range(T_DATA, 0, 8, 0);
                CU_ASSERT_EQUAL(t_do(&peer, 0, T_ZEROES, 0, T_DATA, 16), T_OK);
                CU_ASSERT_EQUAL(rig.disk.log[0].fua, i == 1);
                CU_ASSERT_EQUAL(rig.disk.log[1].fua, i == 1);
                down();
        }
}

/* More than the ring's 16 bits of index, so every wrap is passed. */
static void test_indices_wrap(void)
{
        up(T_FEATURES, 256);
        unsigned done = 0, offered = 0;
        while (done < 70000) {
                uint32_t id, len;
                for (unsigned i = 0; i < 64; i++, offered++)
                        t_offer(&peer, 0, t_request(&peer, 0, offered % 64, T_FLUSH, 0, 0, 0));
                t_kick(&peer, 0);
                if (!T_UNTIL(&rig, t_used_idx(&peer, 0) == peer.q[0].avail_idx))
                        break;
                while (t_used(&peer, 0, &id, &len))
                        done++;
        }
        CU_ASSERT_EQUAL(done, offered);
        CU_ASSERT_EQUAL(t_stop_queue(&peer, 0), (int)(offered & 0xffff));
        down();
}

/* A ring may hold more requests than are submitted at a time. */
static void test_more_requests_than_objects(void)
{
        up(T_FEATURES, 1024 / 4);
        rig.disk.mode = T_DISK_SLOW;
        struct t_buf bufs[] = {{t_header_gpa(0), 16, false}, {t_status_gpa(0), 1, true}};
        t_header(&peer, t_header_gpa(0), T_FLUSH, 0);
        for (unsigned i = 0; i < 200; i++)
                t_offer(&peer, 0, t_chain_indirect(&peer, 0, T_DATA, bufs, 2));
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_EQUAL(rig.disk.pending, 128);
        rig.disk.mode = T_DISK_NORMAL;
        t_disk_release(&rig.disk, true);
        T_UNTIL(&rig, t_used_idx(&peer, 0) == 200);
        down();
}

static void test_one_signal_for_a_batch(void)
{
        up(T_FEATURES & ~VUB_F_EVENT_IDX, 64);
        rig.disk.mode = T_DISK_SLOW;
        for (unsigned i = 0; i < 10; i++)
                t_offer(&peer, 0, t_request(&peer, 0, i, T_FLUSH, 0, 0, 0));
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_EQUAL(rig.disk.pending, 10);
        t_disk_release(&rig.disk, false);
        t_settle(&rig);
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 10);
        CU_ASSERT_EQUAL(t_signals(peer.q[0].call), 1);

        peer.q[0].used_seen = 10;
        put_le16(peer.mem + peer.q[0].avail, 1); /* no interrupt, please */
        rig.disk.mode = T_DISK_NORMAL;
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_FLUSH, 0, 0, 0), T_OK);
        CU_ASSERT_EQUAL(t_signals(peer.q[0].call), 0);
        down();
}

static void test_event_index_suppresses_both_ways(void)
{
        up(T_FEATURES, 64);
        struct t_queue *q = &peer.q[0];
        uint8_t *used_event = peer.mem + q->avail + 4 + 2 * q->num;
        const uint8_t *avail_event = peer.mem + q->used + 4 + 8 * q->num;

        CU_ASSERT_EQUAL(t_do(&peer, 0, T_FLUSH, 0, 0, 0), T_OK); /* the first one always signals */
        CU_ASSERT_EQUAL(t_signals(q->call), 1);
        CU_ASSERT_EQUAL(get_le16(avail_event), 1);
        put_le16(used_event, 3); /* tell me when the index passes 3 */
        for (unsigned i = 2; i <= 5; i++) {
                CU_ASSERT_EQUAL(t_do(&peer, 0, T_FLUSH, 0, 0, 0), T_OK);
                CU_ASSERT_EQUAL(t_signals(q->call), i == 4);
                CU_ASSERT_EQUAL(get_le16(avail_event), i);
        }
        down();
}

static void test_64_queues(void)
{
        t_rig_up(&rig);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, T_FEATURES);
        CU_ASSERT_EQUAL(t_ask_u64(&peer, VUB_GET_QUEUE_NUM), 64);
        for (unsigned i = 0; i < T_QUEUES; i++)
                t_start_queue(&peer, i, 16, 0);
        struct vub_status status;
        vub_server_status(rig.server, &status);
        CU_ASSERT_EQUAL(status.rings, 64);
        for (unsigned i = 0; i < T_QUEUES; i++) {
                memset(peer.mem + T_DATA, (int)i + 1, 512);
                CU_ASSERT_EQUAL(t_do(&peer, i, T_OUT, i, T_DATA, 512), T_OK);
                CU_ASSERT_EQUAL(rig.disk.data[i * 512], i + 1);
        }
        CU_ASSERT_EQUAL(t_count(&rig, FRONT_RINGS_ON), 1);
        for (unsigned i = 0; i < T_QUEUES; i++) {
                CU_ASSERT_FALSE(t_saw(&rig, FRONT_RINGS_OFF));
                CU_ASSERT_EQUAL(t_stop_queue(&peer, i), 1);
        }
        CU_ASSERT_EQUAL(t_count(&rig, FRONT_RINGS_OFF), 1);
        down();
}

static const struct t_case cases[] = {
    T_CASE(test_writes_and_reads_back),
    T_CASE(test_used_length_counts_what_was_written),
    T_CASE(test_indirect_and_mixed_chains),
    T_CASE(test_any_layout_across_the_seam),
    T_CASE(test_faults_of_contents_are_answered),
    T_CASE(test_discard_and_write_zeroes),
    T_CASE(test_get_id_gives_the_option),
    T_CASE(test_without_flush_every_write_is_durable),
    T_CASE(test_indices_wrap),
    T_CASE(test_more_requests_than_objects),
    T_CASE(test_one_signal_for_a_batch),
    T_CASE(test_event_index_suppresses_both_ways),
    T_CASE(test_64_queues),
};
T_MAIN("vhost-user I/O", cases)
