/* Rings stop, drain, start again; memory tables and peers come and go meanwhile. */
#include "t_vub.h"

#include "base/le.h"

#include <sys/socket.h>

static struct t_rig rig;
static struct t_peer peer;

static void up(void)
{
        t_rig_up(&rig);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, T_FEATURES);
        t_start_queue(&peer, 0, 16, 0);
}

static void down(void)
{
        t_peer_free(&peer);
        t_rig_down(&rig);
}

static void offer_write(unsigned slot, uint64_t sector)
{
        memset(peer.mem + T_DATA + slot * 512, (int)slot + 1, 512);
        t_offer(&peer, 0, t_request(&peer, 0, slot, T_OUT, sector, T_DATA + slot * 512, 512));
}

static void test_base_is_answered_when_drained_and_not_before(void)
{
        up();
        rig.disk.mode = T_DISK_SLOW;
        for (unsigned i = 0; i < 3; i++)
                offer_write(i, i);
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_EQUAL(rig.disk.pending, 3);
        t_ask_base(&peer, 0);
        t_send(&peer, VUB_GET_FEATURES, 0, NULL, 0, NULL, 0); /* has to wait its turn */
        CU_ASSERT_TRUE(t_silent(&peer));
        CU_ASSERT_FALSE(t_saw(&rig, FRONT_RINGS_OFF));
        offer_write(3, 3); /* stays in the ring */
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_EQUAL(rig.disk.pending, 3);

        t_disk_release(&rig.disk, true);
        CU_ASSERT_EQUAL(t_base_answer(&peer, 0), 3);
        CU_ASSERT_TRUE(t_saw(&rig, FRONT_RINGS_OFF));
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 3); /* used == avail at the base */
        CU_ASSERT_PTR_NULL(nvc_front(rig.controller));
        uint8_t reply[8];
        CU_ASSERT_EQUAL(t_recv(&peer, VUB_GET_FEATURES, reply, 8, NULL), 8);

        /* The same connection goes on; the fourth is found without a kick. */
        rig.disk.mode = T_DISK_NORMAL;
        t_start_queue(&peer, 0, 16, 3);
        T_UNTIL(&rig, t_used_idx(&peer, 0) == 4);
        CU_ASSERT_EQUAL(rig.disk.data[3 * 512], 4);
        CU_ASSERT_EQUAL(t_count(&rig, FRONT_RINGS_ON), 2);
        down();
}

/* The event comes first: whoever suspends on it has seen the rings stop when the peer goes on. */
static bool answered_at_event;

static void check_not_answered(struct t_rig *r, enum front_event event)
{
        uint8_t b;
        if (event == FRONT_RINGS_OFF)
                answered_at_event = recv(peer.sock, &b, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void test_rings_off_is_reported_before_the_answer(void)
{
        up();
        answered_at_event = true;
        rig.on_event = check_not_answered;
        CU_ASSERT_EQUAL(t_stop_queue(&peer, 0), 0);
        CU_ASSERT_FALSE(answered_at_event);
        CU_ASSERT_TRUE(t_saw(&rig, FRONT_RINGS_OFF));
        rig.on_event = NULL;
        down();
}

static void test_held_writes_fail_after_the_deadline(void)
{
        t_rig_prepare(&rig, NULL);
        rig.options.hold_timeout_ms = 300;
        t_rig_listen(&rig);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, T_FEATURES);
        t_start_queue(&peer, 0, 16, 0);
        rig.disk.mode = T_DISK_HELD;
        offer_write(0, 0);
        t_kick(&peer, 0);
        t_settle(&rig);
        uint64_t start = clock_now_ns();
        t_ask_base(&peer, 0);
        CU_ASSERT_TRUE(t_silent(&peer));
        CU_ASSERT_EQUAL(t_base_answer(&peer, 0), 1);
        CU_ASSERT(clock_now_ns() - start >= UINT64_C(250000000));
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(0)], T_IOERR);
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 1);
        down();
}

static void test_disabling_leaves_requests_and_enabling_takes_them(void)
{
        up();
        t_send_state(&peer, VUB_SET_VRING_ENABLE, 0, 0);
        t_settle(&rig);
        offer_write(0, 0);
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 0);
        t_send_state(&peer, VUB_SET_VRING_ENABLE, 0, 1);
        T_UNTIL(&rig, t_used_idx(&peer, 0) == 1);
        CU_ASSERT_EQUAL(t_count(&rig, FRONT_RINGS_ON), 1);
        CU_ASSERT_FALSE(t_saw(&rig, FRONT_RINGS_OFF));
        down();
}

/* What a migrated guest has waiting is found without a kick, in every ring. */
static void test_each_starting_ring_is_looked_at(void)
{
        up();
        for (unsigned ring = 1; ring < 4; ring++) {
                peer.q[ring].num = 16;
                t_offer(&peer, ring, t_request(&peer, ring, ring, T_FLUSH, 0, 0, 0));
                t_start_queue(&peer, ring, 16, 0);
                T_UNTIL(&rig, t_used_idx(&peer, ring) == 1);
        }
        down();
}

static void test_base_of_a_ring_that_never_ran(void)
{
        up();
        t_send_state(&peer, VUB_SET_VRING_BASE, 5, 77);
        t_send_state(&peer, VUB_GET_VRING_BASE, 5, 0);
        CU_ASSERT_EQUAL(t_base_answer(&peer, 5), 77);
        down();
}

static void test_a_new_memory_table_while_requests_run(void)
{
        up();
        rig.disk.mode = T_DISK_SLOW;
        memset(rig.disk.data, 0x42, 4096);
        t_offer(&peer, 0, t_request(&peer, 0, 0, T_IN, 0, T_DATA, 4096));
        t_kick(&peer, 0);
        t_settle(&rig);
        t_send_mem_table(&peer);
        t_send_mem_table(&peer);
        t_settle(&rig);
        t_disk_release(&rig.disk, false); /* into the table it was taken under */
        T_UNTIL(&rig, t_used_idx(&peer, 0) == 1);
        CU_ASSERT_EQUAL(peer.mem[T_DATA + 4095], 0x42);
        peer.q[0].used_seen = 1;
        rig.disk.mode = T_DISK_NORMAL;
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_IN, 8, T_DATA, 4096), T_OK);
        CU_ASSERT_EQUAL(peer.mem[T_DATA + 4095], 0);

        /* One without the running ring is refused and changes nothing. */
        uint8_t table[40] = {1};
        put_le64(table + 8, 0x300000);
        put_le64(table + 16, 4096);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_MEM_TABLE, table, 40, &peer.mem_fd, 1), 1);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_IN, 0, T_DATA, 4096), T_OK);
        down();
}

static void test_running_rings_refuse_to_be_remade(void)
{
        uint8_t state[8] = {0}, features[8];

        up();
        put_le32(state + 4, 32);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_VRING_NUM, state, 8, NULL, 0), 1);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_VRING_BASE, state, 8, NULL, 0), 1);
        put_le64(features, T_FEATURES & ~VUB_F_EVENT_IDX);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_FEATURES, features, 8, NULL, 0), 1);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_FLUSH, 0, 0, 0), T_OK);
        down();
}

/* What the old peer left in flight is done before the new one is heard, and told to nobody. */
static void test_a_vanished_peers_requests_drain_before_the_next(void)
{
        up();
        rig.disk.mode = T_DISK_SLOW;
        offer_write(0, 0);
        t_kick(&peer, 0);
        t_settle(&rig);
        t_peer_hang_up(&peer);
        t_settle(&rig);
        CU_ASSERT_FALSE(t_saw(&rig, FRONT_RINGS_OFF));
        t_peer_reconnect(&peer);
        t_send(&peer, VUB_GET_FEATURES, 0, NULL, 0, NULL, 0);
        CU_ASSERT_TRUE(t_silent(&peer));
        CU_ASSERT_EQUAL(t_count(&rig, FRONT_CONNECTED), 1);
        t_disk_release(&rig.disk, false);
        uint8_t reply[8];
        CU_ASSERT_EQUAL(t_recv(&peer, VUB_GET_FEATURES, reply, 8, NULL), 8);
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 0);
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(0)], 0xff);
        static const enum front_event order[] = {FRONT_CONNECTED,     FRONT_RINGS_ON,
                                                 FRONT_FIRST_REQUEST, FRONT_RINGS_OFF,
                                                 FRONT_DISCONNECTED,  FRONT_CONNECTED};
        CU_ASSERT_EQUAL(rig.nevents, 6);
        CU_ASSERT_EQUAL(memcmp(rig.events, order, sizeof(order)), 0);
        down();
}

static void test_hang_up_while_the_base_is_awaited(void)
{
        up();
        rig.disk.mode = T_DISK_HELD;
        offer_write(0, 0);
        t_kick(&peer, 0);
        t_settle(&rig);
        t_ask_base(&peer, 0);
        t_settle(&rig);
        t_peer_hang_up(&peer);
        T_UNTIL(&rig, t_saw(&rig, FRONT_DISCONNECTED)); /* held ones are let go at once */
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(0)], 0xff);
        down();
}

static void set_true(void *ctx)
{
        *(bool *)ctx = true;
}

static void test_close_lets_requests_complete(void)
{
        bool closed = false;

        up();
        rig.disk.mode = T_DISK_SLOW;
        offer_write(0, 0);
        t_kick(&peer, 0);
        t_settle(&rig);
        vub_server_close(rig.server, &closed, set_true);
        offer_write(1, 1);
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_FALSE(closed);
        t_disk_release(&rig.disk, false);
        T_UNTIL(&rig, closed);
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 1);
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(0)], T_OK);
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(1)], 0xff);
        CU_ASSERT_TRUE(t_closed(&peer));
        vub_server_free(rig.server);
        rig.server = NULL;
        down();
}

static const struct t_case cases[] = {
    T_CASE(test_base_is_answered_when_drained_and_not_before),
    T_CASE(test_rings_off_is_reported_before_the_answer),
    T_CASE(test_held_writes_fail_after_the_deadline),
    T_CASE(test_disabling_leaves_requests_and_enabling_takes_them),
    T_CASE(test_each_starting_ring_is_looked_at),
    T_CASE(test_base_of_a_ring_that_never_ran),
    T_CASE(test_a_new_memory_table_while_requests_run),
    T_CASE(test_running_rings_refuse_to_be_remade),
    T_CASE(test_a_vanished_peers_requests_drain_before_the_next),
    T_CASE(test_hang_up_while_the_base_is_awaited),
    T_CASE(test_close_lets_requests_complete),
};
T_MAIN("vhost-user drain", cases)
