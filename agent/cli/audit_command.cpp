#include "agent/cli/audit_command.hpp"

#include "agent/cli/bundle_commands.hpp"
#include "agent/cli/client.hpp"
#include "agent/cli/display.hpp"

#include <iostream>
#include <regex>
#include <vector>

namespace penstock::cli {
namespace {

using Json = nlohmann::json;

constexpr unsigned kMost = 1000; // records in one answer of the agent

struct Question {
    unsigned last = 0; // 0: only whether it is whole
    std::string event, since, expect;
    bool json = false, reveal = false;
};

struct Log {
    std::vector<Json> records;
    Json report;
};

// The records come one by one, and the report of the whole log behind them.
Result<Log> ask(const std::string& socket, const Question& question) {
    auto client = Client::connect(socket);
    if (!client)
        return tl::unexpected(client.error());
    Json request = {{"op", "audit"},
                    {"last", question.last},
                    {"event", question.event},
                    {"since", question.since},
                    {"reveal", question.reveal}};
    if (const auto colon = question.expect.find(':'); colon != std::string::npos) {
        request["expect_seq"] = std::stoull(question.expect.substr(0, colon));
        request["expect_hash"] = question.expect.substr(colon + 1);
    }
    if (auto ok = client->send(request); !ok)
        return tl::unexpected(ok.error());
    Log log;
    for (;;) {
        auto message = client->receive_within(std::chrono::seconds(60));
        if (!message)
            return tl::unexpected(message.error());
        if (!*message)
            return fail("penstockd does not answer");
        if ((*message)->contains("ok")) {
            log.report = std::move(**message);
            break;
        }
        log.records.push_back(std::move(**message));
    }
    if (!log.report.contains("records"))
        return fail(log.report.value("error", "penstockd refused without a reason"));
    return log;
}

CLI::Validator matches(const std::string& pattern, const std::string& example) {
    return {[=](const std::string& text) {
                return std::regex_match(text, std::regex(pattern)) ? "" : "must be like " + example;
            },
            ""};
}

void run(const std::string& socket, const Question& question, int& exit_code) {
    const auto log = ask(socket, question);
    if (!log) {
        if (question.json)
            std::cout << Json{{"ok", false}, {"error", log.error().message()}}.dump() << "\n";
        else
            std::cerr << "penstock: " << log.error().message() << "\n";
        exit_code = kRefused;
        return;
    }
    for (const auto& record : log->records)
        std::cout << (question.json ? record.dump() + "\n" : show_audit_record(record));
    if (question.last == 0)
        std::cout << (question.json ? log->report.dump(2) + "\n" : show_audit_report(log->report));
    else if (!log->report.value("ok", false))
        std::cerr << "penstock: " << log->report.value("error", "") << " (penstock audit verify)\n";
    exit_code = log->report.value("ok", false) ? kDone : kRefused;
}

} // namespace

void add_audit_command(CLI::App& app, const std::string& socket, int& exit_code) {
    auto* audit = app.add_subcommand("audit", "who changed what, and whether the log of it is whole (root only)");
    audit->require_subcommand(1);
    audit->footer("Examples:\n"
                  "  penstock audit verify\n"
                  "  penstock audit show --since 2026-11-01 --event policy_in_force");
    auto* verify = audit->add_subcommand("verify", "find any record that was changed, moved or taken away");
    auto checked = std::make_shared<Question>();
    verify->add_flag("--json", checked->json, "answer in JSON");
    verify->add_option("--expect", checked->expect, "record and hash that an earlier verify printed, as 17:3f5c...")
        ->check(matches("[0-9]{1,18}:[0-9a-f]{64}", "NUMBER:HASH, as `penstock audit verify` printed it"));
    verify->footer(
        "Examples:\n"
        "  penstock audit verify           # note its last line elsewhere\n"
        "  penstock audit verify --expect 17:3f5c0d6c9e4a1b72a90c5be48d2f6e7713f0a4c85d9be62017cfa34e8b65d921");
    verify->callback([=, &socket, &exit_code] { run(socket, *checked, exit_code); });
    auto* show = audit->add_subcommand("show", "the newest records, oldest first");
    auto asked = std::make_shared<Question>();
    asked->last = 100;
    show->add_option("--last", asked->last, "at most so many")->check(CLI::Range(1U, kMost))->capture_default_str();
    show->add_option("--event", asked->event, "only of this name, such as policy_in_force");
    show->add_option("--since", asked->since, "only from this time on, in UTC: 2026-11-01 or 2026-11-01T12:00:00Z")
        ->check(matches("[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z?)?",
                        "2026-11-01 or 2026-11-01T12:00:00Z"));
    show->add_flag("--reveal", asked->reveal, "MAC and IP addresses in place of pseudonyms; recorded in this log");
    show->add_flag("--json", asked->json, "answer in JSON, one record a line");
    show->footer("Examples:\n"
                 "  penstock audit show --last 10\n"
                 "  penstock audit show --event bundle_refused --json");
    show->callback([=, &socket, &exit_code] {
        if (asked->since.ends_with('Z'))
            asked->since.pop_back(); // records have fractions of a second
        run(socket, *asked, exit_code);
    });
}

} // namespace penstock::cli
