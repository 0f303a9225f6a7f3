/* What a hostile guest or peer may do to itself, and to nobody else. */
#include "t_vub.h"

#include "base/le.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

static struct t_rig rig;
static struct t_peer peer;

static void up(void)
{
        t_rig_up(&rig);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, T_FEATURES);
        t_start_queue(&peer, 0, 16, 0);
        t_start_queue(&peer, 1, 16, 0);
}

static void down(void)
{
        t_peer_free(&peer);
        t_rig_down(&rig);
}

/* A descriptor chain as a table: the ring's descriptors from 0, an indirect table at T_DATA. */
struct d {
        uint64_t gpa;
        uint32_t len;
        uint16_t flags, next;
};
enum { H = 0x110000, S = 0x118000, D = T_DATA + 0x10000, TABLE = T_DATA };

static const struct {
        const char *why;
        struct d direct[4], indirect[4];
        uint16_t head;
} chains[] = {
    {"loop of one", {{H, 16, T_NEXT, 0}}},
    {"loop of two", {{H, 16, T_NEXT, 1}, {D, 512, T_NEXT, 0}}},
    {"next outside the table", {{H, 16, T_NEXT, 16}}},
    {"head outside the table", {{H, 16, 0, 0}}, {}, 16},
    {"head far outside the table", {{H, 16, 0, 0}}, {}, 0xffff},
    {"readable after writable", {{S, 1, T_WRITE | T_NEXT, 1}, {H, 16, 0, 0}}},
    {"no status", {{H, 16, 0, 0}}},
    {"empty chain", {{H, 0, 0, 0}}},
    {"only a status", {{S, 1, T_WRITE, 0}}},
    {"short header", {{H, 15, T_NEXT, 1}, {S, 1, T_WRITE, 0}}},
    {"header outside memory", {{T_MEM_BYTES, 16, T_NEXT, 1}, {S, 1, T_WRITE, 0}}},
    {"status outside memory", {{H, 16, T_NEXT, 1}, {T_MEM_BYTES, 1, T_WRITE, 0}}},
    {"buffer leaves memory", {{H, 16, T_NEXT, 1}, {T_MEM_BYTES - 1, 2, T_WRITE, 0}}},
    {"buffer wraps", {{H, 16, T_NEXT, 1}, {UINT64_MAX - 3, 8, T_WRITE, 0}}},
    {"longest buffer", {{H, UINT32_MAX, T_NEXT, 1}, {S, 1, T_WRITE, 0}}},
    {"indirect and next",
     {{TABLE, 32, T_INDIRECT | T_NEXT, 1}},
     {{H, 16, T_NEXT, 1}, {S, 1, T_WRITE, 0}}},
    {"indirect in indirect",
     {{TABLE, 32, T_INDIRECT, 0}},
     {{H, 16, T_NEXT, 1}, {TABLE, 32, T_INDIRECT, 0}}},
    {"empty indirect table", {{TABLE, 0, T_INDIRECT, 0}}},
    {"indirect table of odd size", {{TABLE, 31, T_INDIRECT, 0}}},
    {"indirect table too large", {{0, 16 * 1025, T_INDIRECT, 0}}},
    {"indirect table outside memory", {{T_MEM_BYTES, 32, T_INDIRECT, 0}}},
    {"indirect table leaves memory", {{T_MEM_BYTES - 16, 32, T_INDIRECT, 0}}, {}},
    {"indirect table wraps", {{UINT64_MAX - 15, 32, T_INDIRECT, 0}}},
    {"loop in indirect table",
     {{TABLE, 32, T_INDIRECT, 0}},
     {{H, 16, T_NEXT, 1}, {D, 16, T_NEXT, 0}}},
    {"next outside the indirect table", {{TABLE, 32, T_INDIRECT, 0}}, {{H, 16, T_NEXT, 2}}},
};

static void test_malformed_chains_break_their_ring_only(void)
{
        for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
                struct vub_status status;

                up();
                t_header(&peer, H, T_FLUSH, 0);
                for (uint16_t n = 0; n < 4; n++) {
                        const struct d *d = &chains[i].direct[n], *x = &chains[i].indirect[n];
                        t_desc(&peer, peer.q[0].desc, n, d->gpa, d->len, d->flags, d->next);
                        t_desc(&peer, TABLE, n, x->gpa, x->len, x->flags, x->next);
                }
                /* The table that leaves memory begins with a sound descriptor. */
                t_desc(&peer, T_MEM_BYTES - 16, 0, H, 16, T_NEXT, 1);
                t_offer(&peer, 0, chains[i].head);
                t_kick(&peer, 0);
                t_settle(&rig);
                vub_server_status(rig.server, &status);
                CU_ASSERT_EQUAL(status.broken, 1);
                if (status.broken != 1)
                        printf("%s\n", chains[i].why);
                CU_ASSERT_EQUAL(rig.ntrouble, 1);
                CU_ASSERT_EQUAL(t_signals(peer.q[0].err), 1);
                CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 0);
                CU_ASSERT_EQUAL(rig.disk.nlog, 0);
                CU_ASSERT_FALSE(t_closed(&peer));

                CU_ASSERT_EQUAL(t_do(&peer, 1, T_FLUSH, 0, 0, 0), T_OK); /* its neighbour runs */
                CU_ASSERT_EQUAL(t_stop_queue(&peer, 0), 0);
                /* A reset guest starts it anew. */
                peer.q[0].avail_idx = peer.q[0].used_seen = peer.q[0].next_desc = 0;
                put_le16(peer.mem + peer.q[0].avail + 2, 0);
                t_start_queue(&peer, 0, 16, 0);
                CU_ASSERT_EQUAL(t_do(&peer, 0, T_FLUSH, 0, 0, 0), T_OK);
                down();
        }
}

static void test_an_available_index_too_far_ahead(void)
{
        struct vub_status status;

        up();
        put_le16(peer.mem + peer.q[0].avail + 2, 17);
        t_kick(&peer, 0);
        t_settle(&rig);
        vub_server_status(rig.server, &status);
        CU_ASSERT_EQUAL(status.broken, 1);
        CU_ASSERT_EQUAL(rig.disk.nlog, 0);
        down();
}

static void test_a_head_offered_twice(void)
{
        struct vub_status status;

        up();
        rig.disk.mode = T_DISK_SLOW;
        uint16_t head = t_request(&peer, 0, 0, T_FLUSH, 0, 0, 0);
        t_offer(&peer, 0, head);
        t_offer(&peer, 0, head);
        t_kick(&peer, 0);
        t_settle(&rig);
        vub_server_status(rig.server, &status);
        CU_ASSERT_EQUAL(status.broken, 1);
        CU_ASSERT_EQUAL(status.inflight, 1); /* the first goes on */
        t_disk_release(&rig.disk, false);
        t_settle(&rig);
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 1);
        CU_ASSERT_EQUAL(t_stop_queue(&peer, 0), 1);
        down();
}

static void test_too_many_descriptors(void)
{
        struct t_buf bufs[140];
        struct vub_status status;

        for (unsigned n = 126; n <= 132; n += 2) {
                up();
                bufs[0] = (struct t_buf){t_header_gpa(0), 16, false};
                for (unsigned i = 1; i < n; i++)
                        bufs[i] = (struct t_buf){D + 1024 * i, 512, true};
                bufs[n - 1] = (struct t_buf){t_status_gpa(0), 1, true};
                t_header(&peer, t_header_gpa(0), T_IN, 0);
                t_offer(&peer, 0, t_chain_indirect(&peer, 0, TABLE, bufs, (int)n));
                t_kick(&peer, 0);
                t_settle(&rig);
                vub_server_status(rig.server, &status);
                CU_ASSERT_EQUAL(status.broken, n > 128);
                CU_ASSERT_EQUAL(t_used_idx(&peer, 0), n <= 128);
                down();
        }
}

static void test_indirect_without_the_feature(void)
{
        struct vub_status status;
        struct t_buf bufs[] = {{t_header_gpa(0), 16, false}, {t_status_gpa(0), 1, true}};

        t_rig_up(&rig);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, T_FEATURES & ~VUB_F_INDIRECT_DESC);
        t_start_queue(&peer, 0, 16, 0);
        t_offer(&peer, 0, t_chain_indirect(&peer, 0, TABLE, bufs, 2));
        t_kick(&peer, 0);
        t_settle(&rig);
        vub_server_status(rig.server, &status);
        CU_ASSERT_EQUAL(status.broken, 1);
        down();
}

/* 33 MiB by pointing 128 times at the same memory: judged, not copied. */
static void test_a_request_above_the_size_limit(void)
{
        struct t_buf bufs[126];

        t_rig_up(&rig);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, T_FEATURES);
        t_start_queue(&peer, 0, 16, 0);
        bufs[0] = (struct t_buf){t_header_gpa(0), 16, false};
        for (unsigned i = 1; i < 125; i++)
                bufs[i] = (struct t_buf){T_SEAM, T_MEM_BYTES - T_SEAM, true};
        bufs[125] = (struct t_buf){t_status_gpa(0), 1, true};
        t_header(&peer, t_header_gpa(0), T_IN, 0);
        t_offer(&peer, 0, t_chain_indirect(&peer, 0, TABLE, bufs, 126));
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 1);
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(0)], T_IOERR);
        CU_ASSERT_EQUAL(rig.disk.nlog, 0);
        down();
}

static void test_rings_outside_memory_close_the_connection(void)
{
        static const struct {
                uint64_t desc, avail, used;
        } cases[] = {
            {T_USER_BASE + T_MEM_BYTES, T_USER_BASE, T_USER_BASE},
            {T_USER_BASE, T_USER_BASE + T_MEM_BYTES - 16, T_USER_BASE},
            {T_USER_BASE, T_USER_BASE, 0},
            {T_USER_BASE, T_USER_BASE, T_USER_BASE - 1},
            {T_USER_BASE + T_SEAM - 16, T_USER_BASE, T_USER_BASE}, /* over the seam */
            {T_USER_BASE + 8, T_USER_BASE, T_USER_BASE}, /* not aligned */
            {T_USER_BASE, T_USER_BASE + 1, T_USER_BASE},
            {T_USER_BASE, T_USER_BASE, T_USER_BASE + 2},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint8_t payload[40] = {2};
                t_rig_up(&rig);
                t_peer_connect(&peer, &rig);
                t_handshake(&peer, T_FEATURES);
                put_le64(payload + 8, cases[i].desc);
                put_le64(payload + 16, cases[i].used);
                put_le64(payload + 24, cases[i].avail);
                t_send_state(&peer, VUB_SET_VRING_NUM, 2, 16);
                t_send(&peer, VUB_SET_VRING_ADDR, 0, payload, 40, NULL, 0);
                int fd = eventfd(0, EFD_CLOEXEC);
                t_send_fd(&peer, VUB_SET_VRING_KICK, 2, fd);
                close(fd);
                t_send_state(&peer, VUB_SET_VRING_ENABLE, 2, 1);
                CU_ASSERT_TRUE(t_closed(&peer));
                CU_ASSERT_EQUAL(rig.ntrouble, 1);
                CU_ASSERT_FALSE(t_saw(&rig, FRONT_RINGS_ON));
                down();
        }
}

/* The file behind the guest's memory shrinks: its owner loses the connection, we live. */
static void test_memory_cut_short(void)
{
        up();
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_OUT, 0, T_DATA, 512), T_OK);
        t_offer(&peer, 0, t_request(&peer, 0, 0, T_OUT, 0, T_DATA, 512));
        munmap(peer.mem, T_MEM_BYTES);
        CU_ASSERT_EQUAL(ftruncate(peer.mem_fd, 0), 0);
        t_kick(&peer, 0);
        CU_ASSERT_TRUE(t_closed(&peer));
        CU_ASSERT_PTR_NOT_NULL(strstr(rig.trouble, "cut short"));
        CU_ASSERT_EQUAL(ftruncate(peer.mem_fd, T_MEM_BYTES), 0);
        peer.mem = mmap(NULL, T_MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, peer.mem_fd, 0);
        CU_ASSERT_FATAL(peer.mem != MAP_FAILED);
        t_peer_hang_up(&peer);
        t_peer_reconnect(&peer);
        peer.q[0].avail_idx = peer.q[0].used_seen = 0;
        t_handshake(&peer, T_FEATURES);
        t_start_queue(&peer, 0, 16, 0);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_OUT, 0, T_DATA, 512), T_OK);
        down();
}

static const struct t_case cases[] = {
    T_CASE(test_malformed_chains_break_their_ring_only),
    T_CASE(test_an_available_index_too_far_ahead),
    T_CASE(test_a_head_offered_twice),
    T_CASE(test_too_many_descriptors),
    T_CASE(test_indirect_without_the_feature),
    T_CASE(test_a_request_above_the_size_limit),
    T_CASE(test_rings_outside_memory_close_the_connection),
    T_CASE(test_memory_cut_short),
};
T_MAIN("vhost-user hostile guests", cases)
