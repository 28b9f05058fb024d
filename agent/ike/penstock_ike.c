/*
 * penstock-ike: libcharon, nothing else. Started by penstockd with the two sockets of channel.h as descriptors 3 and 4,
 * as a user of its own, with CAP_NET_BIND_SERVICE (and CAP_NET_ADMIN for a TUN) until the sockets are open.
 *
 * It reads no file and no argument: configuration, certificate and key come over the channel. It never closes a tunnel
 * because it ends: on SIGTERM, or when penstockd is gone, it leaves without a DELETE.
 */
#include "agent/ike/abi.h"
#include "agent/ike/confine.h"
#include "agent/ike/exports.h"
#include "agent/ike/shim.h"

#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

static const char kCommonPlugins[] = "random nonce openssl pem pkcs1 pkcs8 x509 pubkey revocation constraints kdf";

static int die(const char* why) {
    fprintf(stderr, "penstock-ike: %s\n", why);
    return 1;
}

static void receive_config(struct staged_config* config) {
    union {
        struct pike_header header;
        char bytes[PIKE_MAX_MESSAGE];
    } message;
    for (;;) {
        int fd;
        ssize_t length = rpc_receive(&message, sizeof(message), &fd, TRUE);
        if (length < (ssize_t)sizeof(message.header)) {
            if (fd >= 0)
                close(fd);
        } else if (config_receive(config, &message, length, fd))
            return;
    }
}

static void set(const char* key, const char* value) {
    char path[128];
    snprintf(path, sizeof(path), "%s.%s", lib->ns, key);
    lib->settings->set_str(lib->settings, path, (char*)value);
}

/* Before libcharon_init(): parts of it read their settings when they are made. */
static void configure(const struct staged_config* config) {
    set("threads", "16"); /* libipsec and the receiver hold several for good; 8 deadlock */
    set("install_routes", "no");
    set("install_virtual_ip", "no");
    set("routing_table", "0");
    set("make_before_break", "yes");
    set("delete_rekeyed_delay", "5");
    set("accept_private_algs", "no");
    set("follow_redirects", "no");
    set("send_vendor_id", "no");
    set("dos_protection", "yes");
    set("max_ikev1_exchanges", "1");
    set("plugins.kernel-libipsec.allow_peer_ts", "yes"); /* its exclude routes would be ours to make */
    /* 1, 1.8, 3.2, 4, 4, 4, 4, 4 s: a peer that comes back waits 4 s at most; one that is gone is given up in 26 s */
    set("retransmit_timeout", "1.0");
    set("retransmit_base", "1.8");
    set("retransmit_limit", "4");
    set("retransmit_tries", "7");
    set("retransmit_jitter", "10");
    if (config->begin.interfaces[0])
        set("interfaces_use", config->begin.interfaces);
}

/* First registered wins: kernel-netlink's own kernel-ipsec then finds the place taken. */
static plugin_feature_t kernel_features[] = {
    PLUGIN_CALLBACK(kernel_ipsec_register, rpc_kernel_ipsec_create),
    PLUGIN_PROVIDE(CUSTOM, "kernel-ipsec"),
};

static bool register_own(plugin_t* plugin, plugin_feature_t* feature, bool reg, void* data) {
    if (reg) {
        credentials_register();
        backend_register();
        listener_register();
    }
    return TRUE;
}

static plugin_feature_t own_features[] = {
    PLUGIN_CALLBACK(register_own, NULL),
    PLUGIN_PROVIDE(CUSTOM, "penstock"),
    PLUGIN_DEPENDS(CUSTOM, "libcharon"),
};

static bool start_libcharon(bool user_mode) {
    char plugins[256];
    if (user_mode)
        kernel_wrap_user_mode();
    else
        lib->plugins->add_static_features(lib->plugins, "penstock-kernel", kernel_features, countof(kernel_features),
                                          TRUE, NULL, NULL);
    lib->plugins->add_static_features(lib->plugins, "penstock", own_features, countof(own_features), TRUE, NULL, NULL);
    snprintf(plugins, sizeof(plugins), "%s%s kernel-netlink socket-default", kCommonPlugins,
             user_mode ? " kernel-libipsec" : "");
    return charon->initialize(charon, plugins);
}

static void say_hello(bool user_mode) {
    struct pike_hello hello = {.header.type = PIKE_HELLO,
                               .version = PIKE_VERSION,
                               .esp_mode = user_mode ? PIKE_ESP_USER : PIKE_ESP_KERNEL,
                               .pid = getpid()};
    socket_family_t families = charon->socket->supported_families(charon->socket);
    hello.ike_port = charon->socket->get_port(charon->socket, FALSE);
    hello.natt_port = charon->socket->get_port(charon->socket, TRUE);
    hello.ipv4 = families == SOCKET_FAMILY_IPV4 || families == SOCKET_FAMILY_BOTH;
    hello.ipv6 = families == SOCKET_FAMILY_IPV6 || families == SOCKET_FAMILY_BOTH;
    put_text(hello.strongswan, sizeof(hello.strongswan), STRONGSWAN_VERSION);
    tun_device_t* tun = user_mode ? lib->get(lib, "kernel-libipsec-tun") : NULL;
    rpc_event_with_fd(&hello, sizeof(hello), tun ? tun->get_fd(tun) : -1);
}

int main(void) {
    static struct staged_config config;
    sigset_t signals;
    int signal;

    prctl(PR_SET_NAME, "penstock-ike"); /* started by descriptor, which leaves a number there */
    prctl(PR_SET_PDEATHSIG, SIGKILL);   /* the launcher did; execve of a file with capabilities would undo it */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    if (!strongswan_matches(kBuiltExports, countof(kBuiltExports)))
        return die("built for strongSwan " STRONGSWAN_VERSION ", but another one is installed; install penstock of the "
                   "same Debian release");
    logger_early();
    if (!library_init("", "penstock-ike")) /* "": no strongswan.conf */
        return die("cannot start libstrongswan");
    rpc_init();
    receive_config(&config);
    bool user_mode = config.begin.esp_mode == PIKE_ESP_USER;
    configure(&config);
    if (!libcharon_init())
        return die("cannot start libcharon");
    logger_register(config.begin.log_level);
    if (!start_libcharon(user_mode))
        return die("cannot start libcharon: a plugin is missing or failed");
    if (!charon->socket->get_port(charon->socket, FALSE) ||
        charon->socket->supported_families(charon->socket) == SOCKET_FAMILY_NONE)
        return die("cannot bind UDP port 500: is another IKE daemon running? (needs CAP_NET_BIND_SERVICE)");
    if (user_mode && !lib->get(lib, "kernel-libipsec-tun"))
        return die("cannot make a TUN device (needs CAP_NET_ADMIN)");

    if (!drop_capabilities())
        return die("cannot drop capabilities");
    if (!confine_system_calls())
        return die("cannot install the system call filter");

    bool usable = credentials_apply(&config);
    if (usable)
        backend_apply(&config, user_mode);
    config_clear(&config);
    charon->start(charon);
    say_hello(user_mode);
    control_start(user_mode);
    keeper_start();

    sigwait(&signals, &signal);
    _exit(0);
}
