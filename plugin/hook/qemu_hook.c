/* hooks/qemu.d/zonepool: libvirt's domains, as they come and go, told to zonepoold.
 *
 * libvirt runs it as `zonepool NAME OPERATION SUB-OPERATION EXTRA` with the domain's XML on stdin,
 * for every domain of the host, and waits. So:
 *
 *   - a domain without vhost-user disks of ours costs one read of its XML: nothing else is touched,
 *     and the daemon need not run;
 *   - exit status 1 stops what libvirt is doing and its user reads our stderr. Only `migrate` and
 *     `prepare` may end so; `reconnect` never, because libvirt would kill the running domain.
 *
 *   migrate begin    (on the target, first of all) the domain's file; migrate.incoming, which
 * brings the volumes and returns when what is left fits the pause. Hanging up cancels it, and we
 * hang up when libvirtd dies prepare begin    the domain's file; domain.seed: which volumes this
 * domain may claim reconnect begin  the same, when libvirtd has been restarted release end
 * domain.released; the file goes
 *
 * A disk on the pool's mount beside (or in place of) vhost-user ones starts, and does not migrate.
 *
 * Left out on purpose: disks plugged in later are not announced (libvirt runs no hook for that);
 * zonepoold learns of them by QEMU's connection, and such a domain migrates once it has been
 * started with the disk or libvirtd has been restarted.
 */
#include "base/cleanup.h"
#include "base/err.h"
#include "control/control.h"
#include "control/control_client.h"
#include "plugin/hook/domain_file.h"
#include "xml/domain_xml.h"
#include "xml/xml_doc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SECONDS UINT64_C(1000000000)

enum {
        SEED_TIMEOUT_S = 10,
        RELEASE_TIMEOUT_S = 5,
        INCOMING_SILENCE_S = 30, /* without a heartbeat; the daemon sends one a second */
};

struct hook {
        const char *rundir;
        char socket[256];
        struct domain_xml domain;
        bool attached; /* by vhost-user, at least one disk */
        const struct domain_xml_disk *mounted; /* a disk on the pool's mount, or NULL */
};

static int complain(const struct hook *h, const char *text)
{
        fprintf(stderr, "zonepool: domain '%s': %s\n", h->domain.name, text);
        return 1;
}

/* {"domain": UUID} with name and disks beside it where they are asked for. NULL: out of memory. */
static json_t *make_params(const struct hook *h, bool name, bool disks)
{
        char uuid[UUID_TEXT_LEN];

        uuid_format(&h->domain.uuid, uuid);
        json_t *params = json_pack("{s:s}", "domain", uuid);
        if (name)
                json_object_set_new(params, "name", json_string(h->domain.name));
        if (!disks)
                return params;

        json_t *list = json_array();
        for (size_t i = 0; i < h->domain.ndisks; i++) {
                const struct domain_xml_disk *d = &h->domain.disks[i];
                if (d->kind == DOMAIN_XML_VHOST_USER)
                        json_array_append_new(
                            list, json_pack("{s:s,s:s}", "pool", d->pool, "volume", d->volume));
        }
        json_object_set_new(params, "disks", list);
        return params;
}

static int call(const struct hook *h, const char *method, json_t *params,
                const struct control_call_options *opt, struct err *err)
{
        int rc = control_call_once(h->socket, method, params, opt, NULL, err);

        json_decref(params);
        return rc;
}

static int seed(const struct hook *h, struct err *err)
{
        const struct control_call_options opt = {.total_timeout_ns = SEED_TIMEOUT_S * SECONDS};
        bool had_file = domain_file_exists(h->rundir, &h->domain.uuid);
        int rc = domain_file_write(h->rundir, &h->domain, err);

        if (rc == 0)
                rc = call(h, "domain.seed", make_params(h, false, true), &opt, err);
        if (rc < 0 && !had_file)
                domain_file_remove(h->rundir, &h->domain.uuid);
        return rc;
}

static int on_prepare(const struct hook *h)
{
        struct err err = ERR_INIT;
        int rc = h->attached ? seed(h, &err) : 0;

        return rc < 0 ? complain(h, err_text(&err, rc)) : 0;
}

/* The domain runs: whatever goes wrong, it must go on. The file is kept in any case, so that the
 * lock driver goes on asking. */
static int on_reconnect(const struct hook *h)
{
        struct err err = ERR_INIT;
        int rc = 0;

        if (!h->attached)
                return 0;
        const struct control_call_options opt = {.total_timeout_ns = SEED_TIMEOUT_S * SECONDS};
        rc = domain_file_write(h->rundir, &h->domain, &err);
        if (rc == 0)
                rc = call(h, "domain.seed", make_params(h, false, true), &opt, &err);
        if (rc < 0)
                complain(h, err_text(&err, rc));
        return 0;
}

static bool keep_waiting(void *ctx, const char *what, uint64_t done, uint64_t total)
{
        return true;
}

static int on_migrate(const struct hook *h)
{
        const struct control_call_options opt = {.silence_timeout_ns = INCOMING_SILENCE_S * SECONDS,
                                                 .progress = keep_waiting};
        struct err err = ERR_INIT;
        char text[512];

        if (h->mounted && (h->attached || h->mounted->kind == DOMAIN_XML_FILE)) {
                snprintf(text, sizeof(text),
                         "disk '%s' (%s/%s) is a file on the pool's mount, which does not migrate; "
                         "attach it as type='vhostuser' (zonepool disk-xml)",
                         h->mounted->target, h->mounted->pool, h->mounted->volume);
                return complain(h, text);
        }
        if (!h->attached)
                return 0;

        bool had_file = domain_file_exists(h->rundir, &h->domain.uuid);
        int rc = domain_file_write(h->rundir, &h->domain, &err);
        if (rc == 0)
                rc = call(h, "migrate.incoming", make_params(h, true, true), &opt, &err);
        if (rc == 0)
                return 0;
        if (!had_file)
                domain_file_remove(h->rundir, &h->domain.uuid);
        return complain(h, err_text(&err, rc));
}

/* By the file, not by the disks it has now: the last one may have been unplugged. */
static int on_release(const struct hook *h)
{
        const struct control_call_options opt = {.total_timeout_ns = RELEASE_TIMEOUT_S * SECONDS};
        struct err err = ERR_INIT;
        int rc;

        if (!domain_file_exists(h->rundir, &h->domain.uuid))
                return 0;
        rc = call(h, "domain.released", make_params(h, false, false), &opt, &err);
        domain_file_remove(h->rundir, &h->domain.uuid);
        if (rc < 0)
                complain(h, err_text(&err, rc));
        return 0;
}

static const struct {
        const char *operation, *sub;
        int (*act)(const struct hook *h);
        bool any_domain; /* even one whose XML does not mention us any more */
} actions[] = {
    {"migrate", "begin", on_migrate, false},
    {"prepare", "begin", on_prepare, false},
    {"reconnect", "begin", on_reconnect, false},
    {"release", "end", on_release, true},
};

/* Reads stdin up to XML_DOC_MAX + 1 bytes. NULL: out of memory, or it cannot be read. */
static char *read_stdin(size_t *ret_len)
{
        size_t len = 0, size = 0;
        char *text = NULL;

        while (len <= XML_DOC_MAX) {
                if (len == size) {
                        size = size ? size * 2 : 64 * 1024;
                        char *grown = realloc(text, size);
                        if (!grown)
                                break;
                        text = grown;
                }
                ssize_t n = read(STDIN_FILENO, text + len, size - len);
                if (n == 0) {
                        *ret_len = len;
                        return text;
                }
                if (n < 0 && errno != EINTR)
                        break;
                len += n > 0 ? (size_t)n : 0;
        }
        if (text && len > XML_DOC_MAX) {
                *ret_len = len;
                return text;
        }
        free(text);
        return NULL;
}

/* "zonepool" of "/run/zonepool": what every path of ours contains. */
static const char *mark_of(const char *rundir)
{
        const char *slash = strrchr(rundir, '/');

        return slash && slash[1] ? slash + 1 : rundir;
}

static void look_at_disks(struct hook *h)
{
        char dir[512];

        for (size_t i = 0; i < h->domain.ndisks; i++) {
                const struct domain_xml_disk *d = &h->domain.disks[i];

                if (d->kind == DOMAIN_XML_VHOST_USER) {
                        h->attached = true;
                        continue;
                }
                /* A libvirt pool of zonepool's bears its name; the folder of sockets is there
                 * while it is imported. */
                snprintf(dir, sizeof(dir), "%s/%s", h->rundir, d->pool);
                if (d->kind == DOMAIN_XML_FILE || access(dir, F_OK) == 0)
                        h->mounted = d;
        }
}

int main(int argc, char **argv)
{
        struct hook h = {.rundir = getenv("ZONEPOOL_RUNDIR")};
        struct err err = ERR_INIT;
        CLEANUP(free_ptr) char *xml = NULL;
        size_t action = 0, len = 0;

        while (argc >= 4 && action < ARRAY_SIZE(actions) &&
               (strcmp(argv[2], actions[action].operation) != 0 ||
                strcmp(argv[3], actions[action].sub) != 0))
                action++;
        if (argc < 4 || action == ARRAY_SIZE(actions))
                return 0;
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (!h.rundir || *h.rundir != '/')
                h.rundir = ZONEPOOL_RUNDIR;
        snprintf(h.socket, sizeof(h.socket), "%s/" CONTROL_SOCKET_NAME, h.rundir);

        xml = read_stdin(&len);
        const char *mark = mark_of(h.rundir);
        if (!xml || (!actions[action].any_domain && !memmem(xml, len, mark, strlen(mark))))
                return 0;
        int rc = domain_xml_parse(xml, len, h.rundir, &h.domain, &err);
        if (rc < 0) {
                /* Not of a domain that is ours for certain: only what may be refused is. */
                fprintf(stderr, "zonepool: domain '%s': %s\n", argv[1], err_text(&err, rc));
                return actions[action].act == on_migrate || actions[action].act == on_prepare;
        }
        look_at_disks(&h);
        rc = actions[action].act(&h);
        domain_xml_fini(&h.domain);
        return rc;
}
