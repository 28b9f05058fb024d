#include "agent/cli/setup_command.hpp"

#include "agent/base/file.hpp"
#include "agent/cli/bundle_commands.hpp"
#include "agent/cli/format.hpp"
#include "agent/setup/arm.hpp"
#include "agent/setup/dialog.hpp"
#include "agent/setup/texts.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <iostream>
#include <memory>
#include <sstream>
#include <unistd.h>

namespace penstock::cli {
namespace {

using namespace penstock::setup;
using Json = nlohmann::json;

constexpr unsigned kPatience = 10; // minutes, over the network

struct SetupOptions {
    std::string answers, root;
    bool arm = false, yes = false, confirm = false, revert = false, json = false;
    std::optional<unsigned> confirm_within;
    [[nodiscard]] Paths paths() const {
        return root.empty() ? Paths{} : Paths{.etc = root + "/etc/penstock", .run = root + "/run/penstock-setup"};
    }
};

std::string name_of(Arm arm) { return arm == Arm::now ? "now" : arm == Arm::boot ? "boot" : "later"; }
Arm arm_from(const std::string& name) { return name == "now" ? Arm::now : name == "boot" ? Arm::boot : Arm::later; }

std::string hostname() {
    std::array<char, 256> name{};
    return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

std::string wrapped(const std::string& lines) {
    constexpr std::size_t kIndent = 4;
    std::string out;
    std::istringstream in(lines);
    for (std::string line; std::getline(in, line);)
        out += wrap(line, kIndent) + "\n";
    return out;
}

// One run. Says things as they happen, or with --json all of it at the end.
class Setup {
public:
    explicit Setup(const SetupOptions& options) : options_(options), paths_(options.paths()), login_(login()) {}

    Status run() {
        if (options_.confirm)
            return confirm(paths_, said_);
        if (options_.revert)
            return revert(paths_, said_);
        if (is_waiting(paths_))
            return fail("a setup waits for its confirmation: penstock setup --confirm, or --revert");
        auto network = core::NetworkView::read();
        if (!network)
            return tl::unexpected(network.error());
        network_ = std::move(*network);
        return options_.arm ? go_on() : from_the_beginning();
    }

    void flush() {
        if (!options_.json)
            for (const auto& line : said_)
                std::cout << line << "\n";
        all_.insert(all_.end(), said_.begin(), said_.end());
        said_.clear();
    }

    [[nodiscard]] Json json() const {
        Json out{{"ok", true}, {"said", all_}};
        if (!blocked_.empty())
            out.update(Json{{"arm", name_of(arm_)}, {"blocked", blocked_}, {"cloud", cloud_}});
        return out;
    }

private:
    [[nodiscard]] static bool terminal() { return isatty(STDIN_FILENO) != 0; }

    void show(const std::string& text) {
        flush();
        if (!options_.json)
            std::cout << "\n" << text << std::flush;
    }

    // What must be known before the gate is closed.
    Status show_consequences() {
        const auto config = core::Config::load(paths_.draft());
        if (!config)
            return tl::unexpected(config.error());
        cloud_ = cloud_side(*config);
        blocked_ = what_is_blocked(*config, network_, login_);
        show(cloud_);
        show(wrapped(blocked_) + "\n");
        return {};
    }

    Status from_the_beginning() {
        const auto answers = answered();
        if (!answers)
            return tl::unexpected(answers.error());
        const auto complete = install(*answers, paths_, said_);
        if (!complete)
            return tl::unexpected(complete.error());
        if (auto ok = show_consequences(); !ok)
            return ok;
        if (!*complete) {
            said_.push_back("Not in force yet. Have " + (paths_.etc / kRequest).string() +
                            " signed, put the certificate at " + (paths_.etc / kCertificate).string() +
                            ", then: penstock setup --arm");
            return {};
        }
        const auto when = decided(*answers);
        if (!when)
            return tl::unexpected(when.error());
        arm_ = *when;
        return into_force();
    }

    Result<Answers> answered() {
        if (!options_.answers.empty())
            return read_answers(options_.answers);
        if (!terminal() || options_.json)
            return fail("setup asks on a terminal; elsewhere give it --answers FILE (penstock(1) has its keys)");
        show("Interfaces of this machine:\n" + interfaces_text(network_) + "\n");
        return ask(std::cin, std::cout, proposals(network_, hostname(), login_.from));
    }

    Result<Arm> decided(const Answers& answers) const {
        if (answers.arm)
            return *answers.arm;
        if (!options_.root.empty())
            return Arm::boot;
        if (!options_.answers.empty())
            return Arm::later;
        const auto word =
            choose(std::cin, std::cout, "Close the gate now, at the next boot, or later?", {"later", "boot", "now"});
        if (!word)
            return tl::unexpected(word.error());
        return arm_from(*word);
    }

    // `setup --arm`: the draft of a setup before.
    Status go_on() {
        if (auto ok = check(paths_, said_); !ok)
            return ok;
        if (auto ok = show_consequences(); !ok)
            return ok;
        if (!options_.yes) {
            if (!terminal())
                return fail("not armed; confirm on a terminal, or with --yes");
            const auto word = choose(std::cin, std::cout, "Close the gate now?", {"no", "yes"});
            if (!word)
                return tl::unexpected(word.error());
            if (*word == "no")
                return fail("not armed");
        }
        arm_ = Arm::now;
        return into_force();
    }

    Status into_force() {
        if (arm_ == Arm::later) {
            said_.push_back("Not in force yet: " + paths_.draft().string() + "; to go on: penstock setup --arm");
            return {};
        }
        if (arm_ == Arm::boot) {
            auto ok = put_in_force(paths_, said_);
            if (ok)
                said_.emplace_back("The next boot closes the gate; systemctl start penstockd does it now.");
            return ok;
        }
        if (!options_.root.empty())
            return fail("what is below --root does not run, so it cannot be armed now; say arm = \"boot\"");
        return setup::arm(paths_, std::chrono::minutes(options_.confirm_within.value_or(login_.remote ? kPatience : 0)),
                          said_);
    }

    const SetupOptions& options_;
    Paths paths_;
    Login login_;
    core::NetworkView network_;
    Said said_, all_;
    std::string cloud_, blocked_;
    Arm arm_ = Arm::later;
};

int run_setup(const SetupOptions& options) {
    Setup setup(options);
    const auto ok = setup.run();
    setup.flush();
    if (!ok) {
        if (options.json)
            std::cout << Json{{"ok", false}, {"error", ok.error().message()}}.dump() << "\n";
        else
            std::cerr << "penstock: " << ok.error().message() << "\n";
        return kRefused;
    }
    if (options.json)
        std::cout << setup.json().dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
    return kDone;
}

} // namespace

void add_setup_command(CLI::App& app, int& exit_code) {
    auto* command = app.add_subcommand("setup", "make a configuration, say what it will block, and close the gate");
    auto options = std::make_shared<SetupOptions>();
    auto* answers = command->add_option("--answers", options->answers, "do not ask: the answers are in this file");
    command->add_option("--root", options->root, "write below this folder, for a machine that does not run");
    auto* arm = command->add_flag("--arm", options->arm, "close the gate with what a setup before has written");
    command->add_flag("--yes", options->yes, "do not ask")->needs(arm);
    command
        ->add_option("--confirm-within", options->confirm_within,
                     "minutes until the guard is released again; default 10 over SSH, else 0: never")
        ->check(CLI::Range(0, 1440));
    auto* confirm = command->add_flag("--confirm", options->confirm, "the gate stays closed: I could come in");
    auto* revert = command->add_flag("--revert", options->revert, "release what waits for --confirm now");
    arm->excludes(answers);
    confirm->excludes(answers, arm);
    revert->excludes(answers, arm, confirm);
    command->add_flag("--json", options->json, "answer in JSON");
    command->footer("Examples:\n"
                    "  penstock setup                  # asks\n"
                    "  penstock setup --answers gw-1.toml\n"
                    "  penstock setup --arm            # when the certificate has come\n"
                    "  penstock setup --confirm        # over SSH: within 10 minutes, from a new session\n"
                    "  penstock setup --answers gw-1.toml --root /mnt/image\n"
                    "penstock(1) has the keys of an answers file.");
    command->callback([options, &exit_code] { exit_code = run_setup(*options); });
}

} // namespace penstock::cli
