/* A disk in a file, served by the real vhost-user server: for trying it against QEMU by hand.
 *
 *   vub_ramdisk SOCKET FILE MIB [DELAY_US]
 *
 * Runs until it is killed; kill -9 is one of the things to try. Prints events and troubles.
 */
#include "t_vub.h"

#include <fcntl.h>
#include <sys/mman.h>

static void on_event(void *ctx, enum front_event event, pid_t pid)
{
        static const char *const names[] = {"connected", "rings on", "rings off",
                                            "log on",    "log off",  "disconnected"};
        printf("event: %s (process %d)\n", names[event], (int)pid);
        fflush(stdout);
}

static void on_trouble(void *ctx, const struct err *err)
{
        printf("trouble: %s\n", err->msg);
        fflush(stdout);
}

int main(int argc, char **argv)
{
        struct front_observer observer = {.event = on_event, .trouble = on_trouble};
        struct err err = ERR_INIT;
        struct t_rig rig;

        if (argc < 4) {
                fprintf(stderr, "usage: vub_ramdisk SOCKET FILE MIB [DELAY_US]\n");
                return 2;
        }
        size_t size = strtoul(argv[3], NULL, 10) << 20;
        int fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
                perror(argv[2]);
                return 1;
        }
        uint8_t *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
                perror(argv[2]);
                return 1;
        }
        t_rig_prepare(&rig, data);
        rmdir(rig.dir);
        rig.disk.size = size;
        rig.disk.delay_ns = argc > 4 ? strtoul(argv[4], NULL, 10) * 1000 : 0;
        rig.options.hold_timeout_ms = 30000;
        if (vub_server_new(rig.loop, argv[1], rig.controller, &rig.options, &observer, &rig.server,
                           &err) < 0) {
                fprintf(stderr, "vub_ramdisk: %s\n", err.msg);
                return 1;
        }
        return loop_run(rig.loop) < 0;
}
