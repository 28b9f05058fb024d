/*
 * Keeps every wanted tunnel up. libcharon repeats a message that got no answer for ever (keyingtries 0), but gives up
 * on a refusal (authentication, proposals, a CHILD_SA that could not be installed); this tries those again. It also
 * tells penstockd that it still comes round.
 */
#include "agent/ike/shim.h"

#include <time.h>

enum { kTickSeconds = 1, kMaxPause = 4, kNames = 256 };

/* One entry a wanted tunnel, kept between ticks by name. */
struct attempt {
    char name[PIKE_NAME];
    unsigned failures; /* initiations in a row that did not lead to a CHILD_SA */
    unsigned idle;     /* ticks with an IKE_SA that has neither CHILD_SA nor task */
    time_t not_before; /* CLOCK_MONOTONIC */
};

static mutex_t* mutex;
static struct attempt attempts[kNames];

static struct attempt* attempt_of(const char* name) {
    struct attempt* unused = NULL;
    for (unsigned i = 0; i < kNames; i++) {
        if (streq(attempts[i].name, name))
            return &attempts[i];
        if (!unused && !attempts[i].name[0])
            unused = &attempts[i];
    }
    if (unused)
        put_text(unused->name, sizeof(unused->name), name);
    return unused;
}

static bool has_tasks(ike_sa_t* ike, task_queue_t queue) {
    task_t* task;
    enumerator_t* each = ike->create_task_enumerator(ike, queue);
    bool found = each->enumerate(each, &task);
    each->destroy(each);
    return found;
}

struct found {
    bool ike;
    bool child;
    bool working;
};

static struct found look(const char* name) {
    struct found found = {};
    ike_sa_t* ike;
    enumerator_t* each = charon->controller->create_ike_sa_enumerator(charon->controller, TRUE);
    while (each->enumerate(each, &ike)) {
        ike_sa_state_t state = ike->get_state(ike);
        if (!ike->get_peer_cfg(ike) || !streq(ike->get_name(ike), name) || state == IKE_DELETING ||
            state == IKE_DESTROYING)
            continue;
        found.ike = TRUE;
        found.child |= ike->get_child_count(ike) > 0;
        found.working |= state != IKE_ESTABLISHED || has_tasks(ike, TASK_QUEUE_ACTIVE) ||
                         has_tasks(ike, TASK_QUEUE_QUEUED) || has_tasks(ike, TASK_QUEUE_PASSIVE);
    }
    each->destroy(each);
    return found;
}

static void initiate(const char* name) {
    peer_cfg_t* peer;
    child_cfg_t* child;
    if (backend_get(name, &peer, &child))
        charon->controller->initiate(charon->controller, peer, child, NULL, NULL, CONTROLLER_LEVEL 0, FALSE);
}

static void keep(const char* name) {
    struct attempt* attempt = attempt_of(name);
    time_t now = time_monotonic(NULL);
    if (!attempt)
        return;
    struct found found = look(name);
    if (found.child) {
        attempt->failures = attempt->idle = 0;
        return;
    }
    attempt->idle = found.ike && !found.working ? attempt->idle + 1 : 0;
    if ((found.ike && attempt->idle < 2) || now < attempt->not_before)
        return;
    attempt->not_before = now + min(1 << min(attempt->failures, 4), kMaxPause);
    attempt->failures++;
    attempt->idle = 0;
    initiate(name);
}

static void keep_all(void) {
    char* names;
    unsigned count = backend_wanted(&names);
    mutex->lock(mutex);
    for (unsigned i = 0; i < count; i++)
        keep(names + PIKE_NAME * i);
    mutex->unlock(mutex);
    free(names);
}

static job_requeue_t tick(void* data) {
    struct pike_header alive = {.type = PIKE_ALIVE};
    keep_all();
    rpc_event_nowait(&alive, sizeof(alive));
    return JOB_RESCHEDULE(kTickSeconds);
}

static job_requeue_t once(void* data) {
    keep_all();
    return JOB_REQUEUE_NONE;
}

void keeper_start(void) {
    mutex = mutex_create(MUTEX_TYPE_DEFAULT);
    lib->processor->queue_job(lib->processor, (job_t*)callback_job_create(tick, NULL, NULL, NULL));
}

void keeper_kick(void) {
    if (!mutex)
        return;
    mutex->lock(mutex);
    memset(attempts, 0, sizeof(attempts));
    mutex->unlock(mutex);
    lib->processor->queue_job(lib->processor, (job_t*)callback_job_create(once, NULL, NULL, NULL));
}
