/* libvirt's lock manager plugin "zonepool": tells zonepoold when a domain stops, moves and runs.
 *
 * The driver is loaded for every domain of the host, so its first rule is to harm none: only a
 * domain that has a file RUNDIR/domains/UUID (the qemu hook writes it for domains with zonepool
 * disks) is asked about; for any other every call succeeds without touching the daemon, running or
 * not. With the file there, an answer is needed: silence refuses, with text.
 *
 * Who decides is zonepoold. This is a messenger with deadlines:
 *
 *   inquire  (a migration begins on this host)     -> lock.inquire, its token travels to the target
 *   release  (the guest was stopped; comes twice)  -> lock.release, idempotent there
 *   acquire  (the guest is about to run)           -> lock.acquire with the token or state
 *   acquire, REGISTER_ONLY (forked child, before it becomes QEMU) -> lock.acquire, register: it
 *            announces the process only. Its failure is not one here: the errors of that child
 * reach nobody, and whether the guest may run is asked again, by the daemon's own rules.
 *
 * The REGISTER_ONLY call runs between fork and exec of a process with many threads: no locks, no
 * allocation but the small manager that libvirt's own code allocates around, no threads.
 *
 * Crash behaviour: nothing is kept here. No descriptor is left in QEMU: zonepoold knows QEMU by its
 * connection and watches the process itself.
 */
#include "plugin/lock/json_scan.h"
#include "plugin/lock/lock_abi.h"
#include "plugin/lock/lock_call.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
        REGISTER_TIMEOUT_MS = 2000,
        INQUIRE_TIMEOUT_MS = 20 * 1000,
        RELEASE_TIMEOUT_MS = 10 * 1000,
        /* longer than the daemon's own limits: max_pause and 20 s of TAKE, or of ASK */
        ACQUIRE_TIMEOUT_MS = 45 * 1000,

        /* Public numbers of libvirt's error API (libvirt/virterror.h). */
        FROM_LOCKING = 42,
        ERR_INTERNAL_ERROR = 1,
        ERR_OPERATION_FAILED = 9,
};

struct manager {
        char uuid[37];
        char name[256];
        unsigned pid;
        bool mount_disk; /* a disk on the pool's mount was among the resources */
        char mount_path[256];
};

extern struct lock_driver virLockDriverImpl;

static const char *rundir(void)
{
        const char *dir = getenv("ZONEPOOL_RUNDIR");

        return dir && *dir == '/' ? dir : ZONEPOOL_RUNDIR;
}

static int fail(const struct manager *m, int code, const char *text)
{
        void (*report)(int, int, const char *, const char *, size_t, const char *, ...) =
            (__typeof__(report))dlsym(RTLD_DEFAULT, "virReportErrorHelper");
        char whole[LOCK_TEXT_MAX + 320];

        snprintf(whole, sizeof(whole), "zonepool: domain '%s': %s", m->name, text);
        if (report)
                report(FROM_LOCKING, code, __FILE__, __func__, __LINE__, "%s", whole);
        return -1;
}

/* True when zonepoold must be asked. A file that cannot be looked at counts as there. */
static bool is_ours(const struct manager *m)
{
        char path[512];

        if (!*m->uuid)
                return false;
        if (snprintf(path, sizeof(path), "%s/domains/%s", rundir(), m->uuid) >= (int)sizeof(path))
                return true;
        return access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

static int ask(const struct manager *m, const char *method, const char *params, int timeout_ms,
               struct lock_answer *answer)
{
        char path[512];

        snprintf(path, sizeof(path), "%s/zonepoold.sock", rundir());
        return lock_call(path, method, params, timeout_ms, answer);
}

static int driver_init(unsigned version, const char *config_file, unsigned flags)
{
        return version / 1000000 == LOCK_ABI_VERSION / 1000000 ? 0 : -1;
}

static int driver_deinit(void)
{
        return 0;
}

static void format_uuid(const unsigned char raw[16], char text[37])
{
        static const char hex[] = "0123456789abcdef";
        char *p = text;

        for (int i = 0; i < 16; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *p++ = '-';
                *p++ = hex[raw[i] >> 4];
                *p++ = hex[raw[i] & 15];
        }
        *p = '\0';
}

static int manager_new(struct lock_manager *man, unsigned type, size_t nparams,
                       struct lock_param *params, unsigned flags)
{
        struct manager *m = calloc(1, sizeof(*m));

        man->private_data = NULL;
        if (!m)
                return -1;
        for (size_t i = 0; i < nparams && type == LOCK_OBJECT_DOMAIN; i++) {
                const struct lock_param *p = &params[i];

                if (strcmp(p->key, "uuid") == 0 && p->type == LOCK_PARAM_UUID)
                        format_uuid(p->value.uuid, m->uuid);
                else if (strcmp(p->key, "name") == 0 && p->type == LOCK_PARAM_STRING)
                        snprintf(m->name, sizeof(m->name), "%s", p->value.str ? p->value.str : "");
                else if (strcmp(p->key, "pid") == 0 && p->type == LOCK_PARAM_UINT)
                        m->pid = p->value.ui;
        }
        man->private_data = m;
        return 0;
}

static void manager_free(struct lock_manager *man)
{
        free(man->private_data);
        man->private_data = NULL;
}

/* vhost-user disks are never named here; what is worth knowing is a disk on a pool's mount. */
static int manager_add_resource(struct lock_manager *man, unsigned type, const char *name,
                                size_t nparams, struct lock_param *params, unsigned flags)
{
        struct manager *m = man->private_data;
        char mount[256];
        int len = snprintf(mount, sizeof(mount), "%s/mnt/", rundir());

        if (m && type == LOCK_RESOURCE_DISK && name && len < (int)sizeof(mount) &&
            strncmp(name, mount, (size_t)len) == 0) {
                m->mount_disk = true;
                snprintf(m->mount_path, sizeof(m->mount_path), "%s", name);
        }
        return 0;
}

static int manager_acquire(struct lock_manager *man, const char *state, unsigned flags, int action,
                           int *fd)
{
        const struct manager *m = man->private_data;
        bool registering = flags & LOCK_ACQUIRE_REGISTER_ONLY;
        struct lock_answer answer;
        char params[LOCK_STATE_MAX + 256];

        if (fd)
                *fd = -1;
        if (!m || !is_ours(m))
                return 0;
        if (state && lock_state_check(state) < 0)
                return registering
                           ? 0
                           : fail(m, ERR_OPERATION_FAILED,
                                  "the lock state that came with the domain is none of "
                                  "zonepool's; both hosts need lock_manager = \"zonepool\"");
        snprintf(params, sizeof(params),
                 "{\"domain\":\"%s\",\"pid\":%u,\"state\":\"%s\",\"register\":%s}", m->uuid, m->pid,
                 state ? state : "", registering ? "true" : "false");
        if (ask(m, "lock.acquire", params, registering ? REGISTER_TIMEOUT_MS : ACQUIRE_TIMEOUT_MS,
                &answer) == 0 ||
            registering)
                return 0;
        return fail(m, ERR_OPERATION_FAILED, answer.text);
}

static int ask_for_state(const struct manager *m, const char *method, int timeout_ms,
                         char **ret_state)
{
        struct lock_answer answer;
        char params[256];

        snprintf(params, sizeof(params), "{\"domain\":\"%s\",\"pid\":%u}", m->uuid, m->pid);
        if (ask(m, method, params, timeout_ms, &answer) < 0)
                return fail(m, ERR_OPERATION_FAILED, answer.text);
        if (ret_state && *answer.state) {
                *ret_state = strdup(answer.state);
                if (!*ret_state)
                        return fail(m, ERR_INTERNAL_ERROR, "out of memory");
        }
        return 0;
}

static int manager_release(struct lock_manager *man, char **ret_state, unsigned flags)
{
        const struct manager *m = man->private_data;

        if (ret_state)
                *ret_state = NULL;
        if (!m || !is_ours(m))
                return 0;
        return ask_for_state(m, "lock.release", RELEASE_TIMEOUT_MS, ret_state);
}

/* libvirt asks once, when a migration begins on its source: the place to refuse one. */
static int manager_inquire(struct lock_manager *man, char **ret_state, unsigned flags)
{
        const struct manager *m = man->private_data;
        char text[LOCK_TEXT_MAX];

        if (ret_state)
                *ret_state = NULL;
        if (!m || !is_ours(m))
                return 0;
        if (m->mount_disk) {
                snprintf(text, sizeof(text),
                         "disk '%s' is a file on the pool's mount, which does not migrate; attach "
                         "it as type='vhostuser' (zonepool disk-xml)",
                         m->mount_path);
                return fail(m, ERR_OPERATION_FAILED, text);
        }
        return ask_for_state(m, "lock.inquire", INQUIRE_TIMEOUT_MS, ret_state);
}

__attribute__((visibility("default"))) struct lock_driver virLockDriverImpl = {
    .version = LOCK_ABI_VERSION,
    .flags = LOCK_DRIVER_USES_STATE,
    .init = driver_init,
    .deinit = driver_deinit,
    .new_manager = manager_new,
    .free_manager = manager_free,
    .add_resource = manager_add_resource,
    .acquire = manager_acquire,
    .release = manager_release,
    .inquire = manager_inquire,
};
