/* The controller's gate and the other front end. */
#include "t_vub.h"

#include <errno.h>

static struct t_rig rig;
static struct t_peer peer;

static void up(bool open)
{
        t_rig_up(&rig);
        nvc_gate_set(rig.controller, open);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, T_FEATURES);
}

static void down(void)
{
        t_peer_free(&peer);
        t_rig_down(&rig);
}

static void test_requests_stay_in_the_ring_while_the_gate_is_shut(void)
{
        up(false);
        t_start_queue(&peer, 0, 16, 0);
        for (unsigned i = 0; i < 3; i++)
                t_offer(&peer, 0, t_request(&peer, 0, i, T_FLUSH, 0, 0, 0));
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_TRUE(t_saw(&rig, FRONT_RINGS_ON));
        CU_ASSERT_EQUAL(rig.disk.nlog, 0);
        CU_ASSERT_FALSE(t_saw(&rig, FRONT_FIRST_REQUEST));
        nvc_gate_set(rig.controller, true);
        T_UNTIL(&rig, t_used_idx(&peer, 0) == 3);
        CU_ASSERT_EQUAL(t_count(&rig, FRONT_FIRST_REQUEST), 1);
        peer.q[0].used_seen = 3;

        nvc_gate_set(rig.controller, false); /* while it runs */
        t_settle(&rig);
        t_offer(&peer, 0, t_request(&peer, 0, 0, T_FLUSH, 0, 0, 0));
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_EQUAL(rig.disk.nlog, 3);
        CU_ASSERT_EQUAL(t_stop_queue(&peer, 0), 3); /* what was not taken is not ours */
        down();
}

static void test_in_flight_requests_complete_behind_a_shut_gate(void)
{
        up(true);
        t_start_queue(&peer, 0, 16, 0);
        rig.disk.mode = T_DISK_SLOW;
        t_offer(&peer, 0, t_request(&peer, 0, 0, T_OUT, 0, T_DATA, 512));
        t_kick(&peer, 0);
        t_settle(&rig);
        nvc_gate_set(rig.controller, false);
        t_disk_release(&rig.disk, false);
        T_UNTIL(&rig, t_used_idx(&peer, 0) == 1);
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(0)], T_OK);
        down();
}

/* The observer opens the gate from within the event, as the owner of the volume does. */
static void open_gate(struct t_rig *r, enum front_event event)
{
        if (event == FRONT_RINGS_ON)
                nvc_gate_set(r->controller, true);
}

static void test_the_observer_may_open_the_gate(void)
{
        up(false);
        rig.on_event = open_gate;
        t_start_queue(&peer, 0, 16, 0);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_OUT, 0, T_DATA, 512), T_OK);
        rig.on_event = NULL;
        down();
}

static void ignore(struct nvm_front *front)
{
}

static void test_another_front_end_makes_the_guest_wait(void)
{
        struct nvm_front fuse = {.kind = "fuse", .may_submit_changed = ignore};
        struct vub_status status;
        struct err err;

        up(true);
        CU_ASSERT_EQUAL(nvc_attach_front(rig.controller, &fuse, &err), 0);
        t_start_queue(&peer, 0, 16, 0);
        t_offer(&peer, 0, t_request(&peer, 0, 0, T_FLUSH, 0, 0, 0));
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_EQUAL(rig.disk.nlog, 0);
        CU_ASSERT_FALSE(t_saw(&rig, FRONT_RINGS_ON));
        vub_server_status(rig.server, &status);
        CU_ASSERT_TRUE(status.busy && !status.rings_on);
        CU_ASSERT_EQUAL(rig.ntrouble, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(rig.trouble, "fuse"));
        nvc_detach_front(rig.controller, &fuse);
        T_UNTIL(&rig, t_used_idx(&peer, 0) == 1);
        CU_ASSERT_TRUE(t_saw(&rig, FRONT_RINGS_ON));
        CU_ASSERT_EQUAL(nvc_attach_front(rig.controller, &fuse, &err), -EBUSY);
        CU_ASSERT_EQUAL(t_stop_queue(&peer, 0), 1);
        CU_ASSERT_EQUAL(nvc_attach_front(rig.controller, &fuse, &err), 0);
        nvc_detach_front(rig.controller, &fuse);
        down();
}

static void test_a_ring_that_waits_for_the_controller_can_stop(void)
{
        struct nvm_front fuse = {.kind = "fuse", .may_submit_changed = ignore};
        struct err err;

        up(true);
        CU_ASSERT_EQUAL(nvc_attach_front(rig.controller, &fuse, &err), 0);
        t_start_queue(&peer, 0, 16, 5);
        CU_ASSERT_EQUAL(t_stop_queue(&peer, 0), 5);
        CU_ASSERT_FALSE(t_saw(&rig, FRONT_RINGS_OFF));
        nvc_detach_front(rig.controller, &fuse);
        down();
}

static const struct t_case cases[] = {
    T_CASE(test_requests_stay_in_the_ring_while_the_gate_is_shut),
    T_CASE(test_in_flight_requests_complete_behind_a_shut_gate),
    T_CASE(test_the_observer_may_open_the_gate),
    T_CASE(test_another_front_end_makes_the_guest_wait),
    T_CASE(test_a_ring_that_waits_for_the_controller_can_stop),
};
T_MAIN("vhost-user gate", cases)
