/* A peer and guest that may do anything: messages, descriptors, guest memory, in any order. The
 * server neither crashes nor leaks, and is ready for the next peer afterwards.
 *
 * An input is a list of actions (corpus/vhost_user.py writes and explains them):
 *   0-3 request flags fds length payload   a message; fds: low nibble how many, high which kind
 *   4   address(3) length bytes            a write into guest memory
 *   5   ring                               a kick
 *   6                                      the server runs until it has nothing to do
 *   7   mode                               the disk's: normal, slow, held; 3: gate shut, 4: open
 */
#include "../proto/t_vub.h"

#include "base/le.h"

#include <sys/eventfd.h>

enum { MAX_MESSAGES = 200, KINDS = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
        const uint8_t *p;
        size_t left;
};

static uint8_t byte(struct input *in)
{
        if (in->left == 0)
                return 0;
        in->left--;
        return *in->p++;
}

static size_t bytes(struct input *in, uint8_t *buf, size_t n)
{
        if (n > in->left)
                n = in->left;
        memcpy(buf, in->p, n);
        in->p += n;
        in->left -= n;
        return n;
}

static void message(struct t_peer *peer, struct input *in)
{
        uint8_t request = byte(in), flags = byte(in), what = byte(in), len = byte(in);
        uint8_t payload[256];
        int fds[3], n = what % 16 % 4, kind = what / 16 % KINDS;
        struct t_queue *q = &peer->q[0];

        len = (uint8_t)bytes(in, payload, len);
        for (int i = 0; i < n; i++)
                fds[i] = (int[]){q->kick, peer->mem_fd, peer->log_fd, q->call}[kind];
        t_send(peer, request, flags & ~(uint32_t)VUB_FLAG_VERSION_MASK, payload, len, fds, n);
}

static void write_memory(struct t_peer *peer, struct input *in)
{
        uint32_t at = byte(in);
        at |= (uint32_t)byte(in) << 8;
        at |= (uint32_t)byte(in) << 16;
        uint8_t len = byte(in);
        bytes(in, peer->mem + at % (T_MEM_BYTES - 256), len);
}

static void set_mode(struct t_rig *rig, uint8_t mode)
{
        if (mode % 5 >= 3) {
                nvc_gate_set(rig->controller, mode % 5 == 4);
                return;
        }
        rig->disk.mode = (enum t_disk_mode)(mode % 5);
        if (rig->disk.mode == T_DISK_NORMAL)
                t_disk_release(&rig->disk, true);
}

static bool nobody_is_connected(struct t_rig *rig)
{
        struct vub_status status;
        vub_server_status(rig->server, &status);
        return status.peer_pid == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct t_rig rig;
        struct input in = {data, size};
        struct t_peer peer;

        if (!rig.loop)
                t_rig_up(&rig);
        rig.nevents = 0;
        rig.disk.nlog = 0;
        t_peer_connect(&peer, &rig);
        peer.q[0].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        peer.q[0].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        for (unsigned messages = 0; in.left > 0 && messages < MAX_MESSAGES;) {
                uint8_t action = byte(&in) % 8;
                if (action < 4) {
                        message(&peer, &in);
                        messages++;
                } else if (action == 4) {
                        write_memory(&peer, &in);
                } else if (action == 5) {
                        byte(&in);
                        t_kick(&peer, 0);
                } else if (action == 6) {
                        t_settle(&rig);
                } else {
                        set_mode(&rig, byte(&in));
                }
        }
        t_settle(&rig);
        t_peer_hang_up(&peer);
        set_mode(&rig, T_DISK_NORMAL);
        T_UNTIL(&rig, nobody_is_connected(&rig));
        T_CHECK(nvc_inflight(rig.controller) == 0 && !nvc_front(rig.controller));
        nvc_gate_set(rig.controller, true);
        t_peer_free(&peer);
        return 0;
}
