#include "agent/core/config_section.hpp"

#include "agent/base/file.hpp"
#include "policy/text.hpp"

#include <cerrno>

namespace penstock::core {
namespace {

constexpr std::size_t kMaxBytes = 1U << 20;

const char* wanted(const std::string&) { return "a text in quotes"; }
const char* wanted(const std::filesystem::path&) { return "a path in quotes"; }
const char* wanted(const IpAddress&) { return "an IP address in quotes"; }
const char* wanted(const IpPrefix&) { return "a network in quotes such as \"10.20.0.0/24\", without host bits"; }

bool convert(const toml::node& node, std::string& out) {
    const auto value = node.value_exact<std::string>();
    out = value.value_or("");
    return value && !out.empty();
}

bool convert(const toml::node& node, std::filesystem::path& out) {
    std::string text;
    const bool ok = convert(node, text);
    out = text;
    return ok;
}

template <class T> bool parse(const toml::node& node, T& out) {
    const auto text = node.value_exact<std::string>();
    if (!text)
        return false;
    const auto value = T::parse(*text);
    if (value)
        out = *value;
    return value.has_value();
}

bool convert(const toml::node& node, IpAddress& out) { return parse(node, out); }
bool convert(const toml::node& node, IpPrefix& out) { return parse(node, out); }

// "; did you mean ...?" or else what there is.
std::string suggestion(const std::string& word, const std::set<std::string, std::less<>>& known) {
    const std::vector<std::string_view> words(known.begin(), known.end());
    if (auto close = policy::did_you_mean(word, words); !close.empty())
        return close;
    std::string out;
    for (const auto& one : known)
        out += (out.empty() ? "; known are " : ", ") + one;
    return out;
}

} // namespace

Result<toml::table> read_toml(const std::filesystem::path& file) {
    const auto text = read_guarded(file, kMaxBytes);
    if (!text && text.error().code() == ENOENT)
        return fail("there is no configuration " + file.string() +
                    "; write one (penstock.toml(5)) or name another: --config FILE");
    if (!text)
        return tl::unexpected(text.error());
    try {
        return toml::parse(*text);
    } catch (const toml::parse_error& error) {
        const auto line = error.source().begin.line;
        return fail(file.string() + (line ? ":" + std::to_string(line) : "") + ": " + std::string(error.description()));
    }
}

void Complaints::add(std::uint32_t line, const std::string& what) {
    all_.push_back(file_ + (line ? ":" + std::to_string(line) : "") + ": " + what);
}

Status Complaints::status() const {
    if (all_.empty())
        return {};
    std::string text;
    for (const auto& one : all_)
        text += (text.empty() ? "" : "\n") + one;
    return fail(std::move(text));
}

std::uint32_t Section::line(const char* key) const {
    if (table_ == nullptr)
        return 0;
    const toml::node* node = table_->get(key);
    return node != nullptr ? node->source().begin.line : table_->source().begin.line;
}

const toml::node* Section::find(const char* key, Need need) {
    known_.insert(key);
    const toml::node* node = table_ ? table_->get(key) : nullptr;
    if (node == nullptr && need == Need::required)
        complain(key, table_ ? "missing " + full(key) : "missing section " + name_ + " with its " + key);
    return node;
}

const toml::array* Section::find_list(const char* key, Need need) {
    const auto* node = find(key, need);
    const auto* array = node ? node->as_array() : nullptr;
    if (node != nullptr && (array == nullptr || array->empty())) {
        complain(key, full(key) + " must be a list with at least one entry, such as [\"...\"]");
        return nullptr;
    }
    return array;
}

template <class T> void Section::read_one(const char* key, T& out, Need need) {
    const auto* node = find(key, need);
    if (node != nullptr && !convert(*node, out))
        complain(key, full(key) + " must be " + wanted(out));
}

template <class T> void Section::read_each(const char* key, std::vector<T>& out, Need need) {
    const auto* array = find_list(key, need);
    if (array == nullptr)
        return;
    for (const auto& entry : *array) {
        T value{};
        if (convert(entry, value))
            out.push_back(value);
        else
            complaints_.add(entry.source().begin.line, "every entry of " + full(key) + " must be " + wanted(value));
    }
}

void Section::read(const char* key, std::string& out, Need need) { read_one(key, out, need); }
void Section::read(const char* key, std::filesystem::path& out, Need need) { read_one(key, out, need); }
void Section::read(const char* key, IpAddress& out, Need need) { read_one(key, out, need); }

void Section::read(const char* key, bool& out) {
    const auto* node = find(key, Need::optional);
    if (node == nullptr)
        return;
    const auto value = node->value_exact<bool>();
    out = value.value_or(out);
    if (!value)
        complain(key, full(key) + " must be true or false");
}

void Section::read(const char* key, std::uint32_t& out, std::uint32_t min, std::uint32_t max) {
    const auto* node = find(key, Need::optional);
    if (node == nullptr)
        return;
    const auto value = node->value_exact<std::int64_t>();
    if (value && *value >= min && *value <= max)
        out = static_cast<std::uint32_t>(*value);
    else
        complain(key, full(key) + " must be a whole number from " + std::to_string(min) + " to " + std::to_string(max));
}

void Section::read_list(const char* key, std::vector<std::string>& out, Need need) { read_each(key, out, need); }
void Section::read_list(const char* key, std::vector<std::filesystem::path>& out, Need need) {
    read_each(key, out, need);
}
void Section::read_list(const char* key, std::vector<IpPrefix>& out, Need need) { read_each(key, out, need); }

void Section::read_choice(const char* key, const std::map<std::string, std::function<void()>>& choices) {
    const auto* node = find(key, Need::optional);
    if (node == nullptr)
        return;
    std::string text, all;
    const auto found = convert(*node, text) ? choices.find(text) : choices.end();
    if (found != choices.end())
        return found->second();
    for (const auto& [name, action] : choices)
        all += (all.empty() ? "\"" : ", \"") + name + "\"";
    complain(key, full(key) + " must be one of " + all);
}

void Section::refuse_unknown_keys() {
    if (table_ == nullptr)
        return;
    for (const auto& [key, node] : *table_) {
        const std::string name(key.str());
        if (!known_.contains(name))
            complaints_.add(key.source().begin.line, "unknown key " + full(name) + suggestion(name, known_));
    }
}

} // namespace penstock::core
