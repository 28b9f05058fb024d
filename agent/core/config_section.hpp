// One table of the configuration file: hands out values by key, remembers which were asked for, and refuses the rest.
// Every complaint names file, line and what was expected; all of them are told at once.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"
#include "agent/core/toml.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::core {

// The file as a tree, if nobody but its owner may have changed it.
Result<toml::table> read_toml(const std::filesystem::path& file);

class Complaints {
public:
    explicit Complaints(std::string file) : file_(std::move(file)) {}
    // line 0: of the file as a whole.
    void add(std::uint32_t line, const std::string& what);
    [[nodiscard]] Status status() const; // one line each

private:
    std::string file_;
    std::vector<std::string> all_;
};

class Section {
public:
    // name: with its brackets, as a person writes it. table: nullptr if the file has none.
    Section(std::string name, const toml::table* table, Complaints& complaints)
        : name_(std::move(name)), table_(table), complaints_(complaints) {}

    enum class Need { required, optional };
    void read(const char* key, std::string& out, Need need = Need::optional);
    void read(const char* key, std::filesystem::path& out, Need need = Need::optional);
    void read(const char* key, IpAddress& out, Need need = Need::optional);
    void read(const char* key, bool& out);
    void read(const char* key, std::uint32_t& out, std::uint32_t min = 1, std::uint32_t max = 0xffffffff);
    void read_list(const char* key, std::vector<std::string>& out, Need need = Need::optional);
    void read_list(const char* key, std::vector<std::filesystem::path>& out, Need need = Need::optional);
    void read_list(const char* key, std::vector<IpPrefix>& out, Need need = Need::optional);
    // A word of a fixed set, each with what it does.
    void read_choice(const char* key, const std::map<std::string, std::function<void()>>& choices);
    void refuse_unknown_keys();

    void complain(const char* key, const std::string& what) { complaints_.add(line(key), what); }
    [[nodiscard]] std::uint32_t line(const char* key) const; // of the key, or of the section, or 0

private:
    const toml::node* find(const char* key, Need need);
    const toml::array* find_list(const char* key, Need need);
    [[nodiscard]] std::string full(std::string_view key) const { return name_ + " " + std::string(key); }
    template <class T> void read_one(const char* key, T& out, Need need);
    template <class T> void read_each(const char* key, std::vector<T>& out, Need need);

    std::string name_;
    const toml::table* table_;
    Complaints& complaints_;
    std::set<std::string, std::less<>> known_;
};

} // namespace penstock::core
