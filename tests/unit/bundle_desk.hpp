// A folder in which `penstock bundle` runs as a person would run it.
#pragma once

#include "agent/base/file.hpp"
#include "agent/cli/bundle_commands.hpp"
#include "policy/bundle/verify.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <sstream>

namespace penstock::test {

struct Run {
    int code;
    std::string out, err;
    [[nodiscard]] nlohmann::json json() const { return nlohmann::json::parse(out); }
};

struct Capture {
    std::ostream& stream;
    std::ostringstream text;
    std::streambuf* before;
    explicit Capture(std::ostream& s) : stream(s), before(s.rdbuf(text.rdbuf())) {}
    ~Capture() { stream.rdbuf(before); }
};

struct Desk {
    std::string folder;
    Desk() {
        char name[] = "/tmp/penstock-unit.XXXXXX";
        BOOST_REQUIRE(::mkdtemp(name) != nullptr);
        folder = std::string(name) + "/";
        put("policy.yaml", kYaml);
    }
    ~Desk() { std::filesystem::remove_all(folder); }

    void put(const std::string& name, const std::string& text) const {
        BOOST_REQUIRE(write_file_atomically(folder + name, text, 0644));
    }
    [[nodiscard]] std::string get(const std::string& name) const {
        return read_file(folder + name, policy::kMaxEnvelopeBytes.value).value_or("(cannot read)");
    }

    // As the real main does it; @x stands for a file of the desk.
    [[nodiscard]] Run run(const std::string& line) const {
        std::vector<std::string> words;
        std::istringstream stream("bundle " + line);
        for (std::string word; stream >> word;)
            words.push_back(word[0] == '@' ? folder + word.substr(1) : word);
        std::ranges::reverse(words); // as CLI11 wants it
        Capture out(std::cout), err(std::cerr);
        CLI::App app;
        int code = cli::kDone;
        cli::add_bundle_commands(app, code);
        try {
            app.parse(words);
        } catch (const CLI::ParseError& error) {
            code = app.exit(error) == 0 ? cli::kDone : cli::kWrongUsage;
        }
        return {code, out.text.str(), err.text.str()};
    }
    [[nodiscard]] bool openssl(std::string line) const {
        for (auto at = line.find('@'); at != line.npos; at = line.find('@'))
            line.replace(at, 1, folder);
        return std::system(("openssl " + line + " >/dev/null 2>&1").c_str()) == 0;
    }
    void ok(const std::string& line) const {
        const Run done = run(line);
        BOOST_REQUIRE_MESSAGE(done.code == 0, line << ": " << done.err << done.out);
    }
    void refused(const std::string& line, std::string_view sentence) const {
        const Run done = run(line);
        BOOST_TEST(done.code == cli::kRefused, line);
        BOOST_CHECK_MESSAGE(has(done.err, sentence), line << ": " << done.err);
        BOOST_TEST(done.out.empty());
    }
    void make_fleet() const {
        ok("keygen --out @root.pem");
        ok("keygen --out @one.pem");
        ok("keygen --out @two.pem --type p256");
        ok("init-root --fleet acme-berlin --root-key @root.pub.pem --root-threshold 1 --policy-key @one.pub.pem @two.pub.pem "
           "--policy-threshold 2 --expires 2028-01-01T00:00:00Z --out @root.json");
        ok("build @policy.yaml --out @bundle.json");
    }
};

} // namespace penstock::test
