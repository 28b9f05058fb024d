#include "agent/setup/dialog.hpp"

#include "policy/text.hpp"

#include <algorithm>
#include <istream>
#include <ostream>

namespace penstock::setup {
namespace {

std::string shown(const std::string& text) { return text; }
std::string shown(const std::filesystem::path& path) { return path.string(); }
std::string shown(const IpAddress& address) { return address.family == 0 ? "" : address.str(); }
std::string shown(const IpPrefix& prefix) { return prefix.str(); }

Result<std::string> read(const std::string& word, const std::string& /*what*/) { return word; }
Result<std::filesystem::path> read(const std::string& word, const std::filesystem::path& /*what*/) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(word, error))
        return fail("there is no file " + policy::quote(word));
    return std::filesystem::absolute(word);
}
Result<IpAddress> read(const std::string& word, const IpAddress& /*what*/) { return IpAddress::parse(word); }
Result<IpPrefix> read(const std::string& word, const IpPrefix& /*what*/) { return IpPrefix::parse(word); }

std::vector<std::string> words_of(const std::string& line) {
    constexpr const char* kBetween = " ,\t\r";
    std::vector<std::string> out;
    for (auto at = line.find_first_not_of(kBetween); at != std::string::npos;) {
        const auto end = line.find_first_of(kBetween, at);
        out.push_back(line.substr(at, end - at));
        at = end == std::string::npos ? end : line.find_first_not_of(kBetween, end);
    }
    return out;
}

class Dialog {
public:
    Dialog(std::istream& in, std::ostream& out) : in_(in), out_(out) {}

    enum class Need { required, optional };
    // value: what is suggested, then what was answered. "-" empties an optional list.
    template <class T> void ask(const std::string& question, std::vector<T>& value, Need need = Need::required) {
        std::string suggestion;
        for (const auto& one : value)
            suggestion += (suggestion.empty() ? "" : " ") + shown(one);
        while (ok_) {
            const auto words = line(question, suggestion);
            if (!ok_)
                return;
            if (words.empty() && (!value.empty() || need == Need::optional))
                return;
            if (need == Need::optional && words == std::vector<std::string>{"-"})
                return value.clear();
            if (take(words, value))
                return;
        }
    }
    template <class T> void ask(const std::string& question, T& value, Need need = Need::required) {
        std::vector<T> list;
        if (!shown(value).empty())
            list.push_back(value);
        do {
            ask(question, list, need);
            if (ok_ && list.size() > 1)
                out_ << "  one, please\n";
        } while (ok_ && list.size() > 1);
        value = list.empty() ? T{} : list.front();
    }
    [[nodiscard]] Status status() const { return ok_; }

private:
    std::vector<std::string> line(const std::string& question, const std::string& suggestion) {
        out_ << question << (suggestion.empty() ? "" : " [" + suggestion + "]") << ": " << std::flush;
        std::string text;
        if (!std::getline(in_, text))
            ok_ = fail("the input ended before everything was answered; nothing is in force");
        return words_of(text);
    }
    template <class T> bool take(const std::vector<std::string>& words, std::vector<T>& value) {
        std::vector<T> list;
        for (const auto& word : words) {
            const auto one = read(word, T{});
            if (!one) {
                out_ << "  " << one.error().message() << "\n";
                return false;
            }
            list.push_back(*one);
        }
        if (list.empty())
            return false;
        value = std::move(list);
        return true;
    }

    std::istream& in_;
    std::ostream& out_;
    Status ok_;
};

} // namespace

Result<Answers> ask(std::istream& in, std::ostream& out, Answers proposed) {
    constexpr auto kOptional = Dialog::Need::optional;
    Dialog dialog(in, out);
    auto& answers = proposed;
    dialog.ask("Name of this gateway, as bundles call it", answers.gateway);
    dialog.ask("LAN: interfaces with devices", answers.lan);
    dialog.ask("Uplink: interfaces to the internet", answers.uplink);
    dialog.ask("Address of the tunnel's peer in the cloud", answers.peer);
    dialog.ask("Name of this gateway in its certificate", answers.local_id);
    dialog.ask("Name of the peer in its certificate", answers.remote_id);
    dialog.ask("Networks of the devices", answers.local_networks);
    dialog.ask("Networks behind the tunnel", answers.remote_networks);
    dialog.ask("From where SSH to this gateway stays possible (networks, - for none)", answers.services["ssh"],
               kOptional);
    dialog.ask("Time servers it may ask (addresses, - for none)", answers.services["ntp"], kOptional);
    dialog.ask("File of its certificate (empty: make a key and a request)", answers.certificate, kOptional);
    if (!answers.certificate.empty())
        dialog.ask("File of the private key (empty: the one that setup made)", answers.private_key, kOptional);
    dialog.ask("Files of the CAs that the peer's certificate may be of", answers.ca);
    dialog.ask("File of the root document, whose keys sign policies", answers.root);
    if (auto ok = dialog.status(); !ok)
        return tl::unexpected(ok.error());
    return answers;
}

Result<std::string> choose(std::istream& in, std::ostream& out, const std::string& question,
                           const std::vector<std::string>& words) {
    for (;;) {
        out << question << " [" << words.front() << "]: " << std::flush;
        std::string word;
        if (!std::getline(in, word))
            return fail("the input ended before everything was answered; nothing is in force");
        const auto answer = words_of(word);
        if (answer.empty())
            return words.front();
        if (answer.size() == 1 && std::ranges::find(words, answer.front()) != words.end())
            return answer.front();
        std::string all;
        for (const auto& one : words)
            all += (all.empty() ? "" : ", ") + one;
        out << "  one of: " << all << "\n";
    }
}

} // namespace penstock::setup
