/* Controllers: gate, states, front ends, the drain. */
#include "t_nvme.h"

#include <errno.h>

static struct t_nvme t;

static void test_io_passes_only_while_gate_is_open_and_running(void)
{
        t_nvme_init(&t, 1 << 20);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), 0);
        nvc_gate_set(t.c[0], false);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), -ESHUTDOWN);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_READ, 0, 1), -ESHUTDOWN);
        nvc_gate_set(t.c[0], true);
        CU_ASSERT_EQUAL(t_suspend(&t, 0, false), 0);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), -ESHUTDOWN);
        CU_ASSERT_EQUAL(t.ram[0].nsubmitted, 1);
        CU_ASSERT_EQUAL(t_resume(&t, 0), 0);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_READ, 0, 1), 0);
        t_nvme_fini(&t);
}

static void test_a_new_controller_is_shut(void)
{
        struct nvm_controller *c;
        struct nvm_namespace_spec spec = {&ram_backing_ops, &t.ram[0], {{7}}};
        struct err err = ERR_INIT;
        t_nvme_init(&t, 1 << 20);
        CU_ASSERT_EQUAL_FATAL(nvm_controller_create(t.s, &spec, &c, &err), 0);
        CU_ASSERT_FALSE(nvc_gate_is_open(c));
        CU_ASSERT_FALSE(nvc_may_submit(c));
        CU_ASSERT_EQUAL(nvm_controller_create(t.s, &spec, &c, &err), -EEXIST);
        CU_ASSERT_EQUAL(nvm_controller_destroy(c, NULL), 0);
        t_nvme_fini(&t);
}

static void test_turns_of_may_submit_are_told_once_and_deferred(void)
{
        t_nvme_init(&t, 1 << 20);
        CU_ASSERT_EQUAL(nvc_attach_front(t.c[0], &t.front, NULL), 0);
        t_turn(&t);
        t.turns = 0;
        nvc_gate_set(t.c[0], false);
        CU_ASSERT_EQUAL(t.turns, 0);
        t_turn(&t);
        CU_ASSERT_EQUAL(t.turns, 1);
        nvc_gate_set(t.c[0], false); /* no turn */
        t_turn(&t);
        CU_ASSERT_EQUAL(t.turns, 1);
        t_suspend(&t, 0, false); /* still "no" */
        CU_ASSERT_EQUAL(t.turns, 1);
        nvc_gate_set(t.c[0], true);
        t_turn(&t);
        CU_ASSERT_EQUAL(t.turns, 1);
        t_resume(&t, 0);
        CU_ASSERT_EQUAL(t.turns, 2);
        t_nvme_fini(&t);
}

static unsigned first_requests;

static void count_first(struct nvm_front *front)
{
        first_requests++;
}

static void test_the_first_request_that_passes_is_told(void)
{
        t_nvme_init(&t, 1 << 20);
        t.front.first_request = count_first;
        nvc_gate_set(t.c[0], false);
        CU_ASSERT_EQUAL(nvc_attach_front(t.c[0], &t.front, NULL), 0);
        first_requests = 0;
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), -ESHUTDOWN); /* has not passed */
        CU_ASSERT_EQUAL(first_requests, 0);
        nvc_gate_set(t.c[0], true);
        CU_ASSERT_EQUAL(t_suspend(&t, 0, false), 0);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_READ, 0, 1), -ESHUTDOWN);
        CU_ASSERT_EQUAL(first_requests, 0);
        CU_ASSERT_EQUAL(t_resume(&t, 0), 0);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_READ, 0, 1), 0);
        CU_ASSERT_EQUAL(first_requests, 1);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), 0);
        CU_ASSERT_EQUAL(first_requests, 1);
        nvc_gate_set(t.c[0], true); /* it was open */
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), 0);
        CU_ASSERT_EQUAL(first_requests, 1);
        nvc_gate_set(t.c[0], false);
        nvc_gate_set(t.c[0], true);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), 0);
        CU_ASSERT_EQUAL(first_requests, 2);
        t_turn(&t);
        nvc_detach_front(t.c[0], &t.front);
        CU_ASSERT_EQUAL(nvc_attach_front(t.c[0], &t.front, NULL), 0);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), 0);
        CU_ASSERT_EQUAL(first_requests, 3);
        nvc_detach_front(t.c[0], &t.front);
        t_nvme_fini(&t);
}

static void test_one_front_end_at_a_time(void)
{
        struct nvm_front other = {"fuse", NULL};
        struct err err = ERR_INIT;
        t_nvme_init(&t, 1 << 20);
        CU_ASSERT_EQUAL(nvc_attach_front(t.c[0], &other, &err), 0);
        CU_ASSERT_EQUAL(nvc_attach_front(t.c[0], &t.front, &err), -EBUSY);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "fuse"));
        CU_ASSERT_EQUAL(nvm_controller_destroy(t.c[0], &err), -EBUSY);
        nvc_detach_front(t.c[0], &t.front); /* not the holder: nothing happens */
        CU_ASSERT_PTR_EQUAL(nvc_front(t.c[0]), &other);
        nvc_detach_front(t.c[0], &other);
        CU_ASSERT_EQUAL(nvc_attach_front(t.c[0], &t.front, &err), 0);
        t_nvme_fini(&t);
}

static void test_suspend_waits_for_what_is_in_flight(void)
{
        struct t_req a, b;
        uint32_t cdw[6] = {0, 0};

        t_nvme_init(&t, 1 << 20);
        cdw[1] = nvc_cntlid(t.c[0]) | 1u << 16;
        t.ram[0].hold = true;
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 3, 1), 1);
        CU_ASSERT_EQUAL(nvc_inflight(t.c[0]), 1);
        t_sqe(&a, NVME_ADMIN_MIGRATION_SEND, 0, cdw);
        t_sqe(&b, NVME_ADMIN_MIGRATION_SEND, 0, cdw);
        t_start(&t, NVM_MMC_CNTLID, &a);
        t_start(&t, NVM_MMC_CNTLID, &b);
        t_turn(&t);
        CU_ASSERT_EQUAL(a.done + b.done, 0);
        CU_ASSERT_EQUAL(nvc_state(t.c[0]), NVC_SUSPENDING);
        CU_ASSERT_FALSE(nvc_may_submit(t.c[0]));
        ram_release(&t.ram[0]);
        t_turn(&t);
        CU_ASSERT_EQUAL(a.done, 1); /* both end together */
        CU_ASSERT_EQUAL(b.done, 1);
        CU_ASSERT_EQUAL(a.r.status | b.r.status, 0);
        CU_ASSERT_EQUAL(nvc_state(t.c[0]), NVC_SUSPENDED);
        CU_ASSERT_EQUAL(t_suspend(&t, 0, false), 0); /* again: no error */
        t_nvme_fini(&t);
}

static void test_resume_ends_a_drain_that_takes_too_long(void)
{
        struct t_req a;
        t_nvme_init(&t, 1 << 20);
        t.ram[0].hold = true;
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 3, 1), 1);
        t_sqe(&a, NVME_ADMIN_MIGRATION_SEND, 0, (uint32_t[6]){0, nvc_cntlid(t.c[0]) | 1u << 16});
        t_start(&t, NVM_MMC_CNTLID, &a);
        CU_ASSERT_EQUAL(t_resume(&t, 0), 0);
        CU_ASSERT_EQUAL(a.done, 1);
        CU_ASSERT_EQUAL(a.r.status & NVME_SC_MASK, NVME_SC_ABORT_REQUESTED);
        CU_ASSERT_TRUE(nvc_may_submit(t.c[0]));
        ram_release(&t.ram[0]);
        t_turn(&t);
        CU_ASSERT_EQUAL(nvc_state(t.c[0]), NVC_RUNNING);
        t_nvme_fini(&t);
}

static void test_controllers_are_independent(void)
{
        t_nvme_init(&t, 1 << 20);
        CU_ASSERT_EQUAL(t_suspend(&t, 0, false), 0);
        CU_ASSERT_EQUAL(t_front_io(&t, 1, VOLUME_WRITE, 0, 1), 0);
        CU_ASSERT_NOT_EQUAL(nvc_cntlid(t.c[0]), nvc_cntlid(t.c[1]));
        CU_ASSERT_NOT_EQUAL(nvc_nsid(t.c[0]), nvc_nsid(t.c[1]));
        t_nvme_fini(&t);
}

static void test_destroy_is_refused_while_requests_run(void)
{
        struct err err = ERR_INIT;
        t_nvme_init(&t, 1 << 20);
        t.ram[0].hold = true;
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_READ, 0, 1), 1);
        CU_ASSERT_EQUAL(nvm_controller_destroy(t.c[0], &err), -EBUSY);
        t_nvme_fini(&t);
}

static void test_numbers_are_not_used_again_at_once(void)
{
        struct nvm_namespace_spec spec = {&ram_backing_ops, &t.ram[1], {{9}}};
        struct nvm_controller *c;
        uint16_t last = 0;
        t_nvme_init(&t, 1 << 20);
        for (int i = 0; i < 5; i++) {
                CU_ASSERT_EQUAL_FATAL(nvm_controller_create(t.s, &spec, &c, NULL), 0);
                CU_ASSERT_TRUE(nvc_cntlid(c) > last);
                last = nvc_cntlid(c);
                CU_ASSERT_EQUAL(nvm_controller_destroy(c, NULL), 0);
        }
        t_nvme_fini(&t);
}

static void test_resets_clear_what_they_should(void)
{
        struct t_req aer;
        t_nvme_init(&t, 1 << 20);
        t_sqe(&aer, NVME_ADMIN_ASYNC_EVENT, 0, NULL);
        t_start(&t, NVM_MMC_CNTLID, &aer);
        CU_ASSERT_EQUAL(t_cdq_create(&t, 0, 16), 0);
        CU_ASSERT_EQUAL(t_suspend(&t, 0, false), 0);
        nvm_controller_reset(t.s, nvc_cntlid(t.c[0]));
        CU_ASSERT_EQUAL(nvc_state(t.c[0]), NVC_RUNNING);
        CU_ASSERT_EQUAL(t_track(&t, t.cdqid, 1), 0); /* the queue is the MMC's: it lives */
        CU_ASSERT_EQUAL(t_suspend(&t, 1, false), 0);
        nvm_controller_reset(t.s, NVM_MMC_CNTLID);
        t_turn(&t);
        CU_ASSERT_EQUAL(t_track(&t, t.cdqid, 1), NVME_SC_INVALID_CDQ);
        CU_ASSERT_EQUAL(nvc_state(t.c[1]), NVC_RUNNING);
        CU_ASSERT_EQUAL(aer.done, 1);
        t_nvme_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_io_passes_only_while_gate_is_open_and_running),
    T_CASE(test_a_new_controller_is_shut),
    T_CASE(test_turns_of_may_submit_are_told_once_and_deferred),
    T_CASE(test_the_first_request_that_passes_is_told),
    T_CASE(test_one_front_end_at_a_time),
    T_CASE(test_suspend_waits_for_what_is_in_flight),
    T_CASE(test_resume_ends_a_drain_that_takes_too_long),
    T_CASE(test_controllers_are_independent),
    T_CASE(test_destroy_is_refused_while_requests_run),
    T_CASE(test_numbers_are_not_used_again_at_once),
    T_CASE(test_resets_clear_what_they_should),
};
T_MAIN("controllers", cases)
