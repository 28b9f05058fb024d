#include "agent/cli/passphrase.hpp"

#include "agent/base/file.hpp"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

namespace penstock::cli {
namespace {

using policy::Secret;

constexpr std::size_t kMaxPassphrase = 512; // bytes
constexpr char kInterrupt = 3;              // Ctrl-C, while the terminal makes no signal of it

// No echo, and no signal that would end us before the echo is back.
class Quiet {
public:
    explicit Quiet(int terminal) : terminal_(terminal) {
        ok_ = tcgetattr(terminal_, &before_) == 0;
        termios quiet = before_;
        quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
        quiet.c_cc[VEOL] = kInterrupt; // ends the line
        ok_ = ok_ && tcsetattr(terminal_, TCSAFLUSH, &quiet) == 0;
    }
    Quiet(const Quiet&) = delete;
    Quiet& operator=(const Quiet&) = delete;
    ~Quiet() {
        if (ok_)
            tcsetattr(terminal_, TCSAFLUSH, &before_);
    }
    [[nodiscard]] bool ok() const { return ok_; }

private:
    int terminal_;
    termios before_{};
    bool ok_ = false;
};

void say(int terminal, std::string_view text) { (void)!write(terminal, text.data(), text.size()); }

Result<Secret> checked(Secret secret) {
    if (secret.text.empty())
        return fail("an empty passphrase is none");
    return secret;
}

} // namespace

Result<Secret> read_passphrase(const std::string& path) {
    auto text = read_guarded(path, kMaxPassphrase, true);
    if (!text)
        return tl::unexpected(text.error());
    Secret secret(std::move(*text));
    if (const auto end = secret.text.find('\n'); end != std::string::npos)
        secret.text.resize(end);
    auto good = checked(std::move(secret));
    return good ? std::move(good) : fail(path, std::move(good.error()));
}

Result<Secret> ask_passphrase(const std::string& prompt) {
    const Fd terminal(open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
    if (!terminal)
        return fail("there is no terminal to ask on; give --passphrase-file");
    Secret secret;
    secret.text.reserve(kMaxPassphrase); // no copy stays behind
    {
        const Quiet quiet(terminal.get());
        if (!quiet.ok())
            return fail_errno("cannot ask on the terminal");
        say(terminal.get(), prompt);
        char c = 0;
        while (read(terminal.get(), &c, 1) == 1 && c != '\n' && c != kInterrupt && secret.text.size() < kMaxPassphrase)
            secret.text += c;
        say(terminal.get(), "\n");
        if (c != '\n')
            return fail("no passphrase was given");
    }
    return checked(std::move(secret));
}

Result<Secret> ask_new_passphrase(const std::string& prompt) {
    auto first = ask_passphrase(prompt);
    if (!first)
        return first;
    const auto second = ask_passphrase("Once more: ");
    if (!second)
        return tl::unexpected(second.error());
    return first->text == second->text ? std::move(first) : fail("the two passphrases differ");
}

} // namespace penstock::cli
