// What somebody else took out of the gate and was put back: counted and told, and two managers that fight over one
// thing are recognised. Remembers what stood at the last look, so that putting something up for the first time is no
// repair.
#pragma once

#include "agent/base/result.hpp"
#include "agent/core/event_log.hpp"

#include <array>
#include <chrono>
#include <deque>
#include <map>
#include <set>
#include <string>

namespace penstock::core {

enum class Layer { hooks, pins, routes, rules, policies, tunnel_policies, defaults, sysctls, forwarding, sas, count };
const char* layer_name(Layer layer);

class Repairs {
public:
    using Clock = std::chrono::steady_clock;
    // This often within the window is a fight: the thing is then put back at most once a second, and nothing is
    // forwarded until it stood for a whole window.
    static constexpr std::size_t kFight = 5;
    static constexpr auto kWindow = std::chrono::seconds(10);
    static constexpr auto kPeriod = std::chrono::seconds(1);

    explicit Repairs(EventLog& events) : events_(events) {}

    // Before a look at all layers.
    void begin(Clock::time_point now = Clock::now()) { now_ = now; }

    // One look at a layer. What stood at the last look and is missing now was taken away by somebody.
    class Look {
    public:
        Look(Repairs& repairs, Layer layer) : repairs_(repairs), layer_(layer) {}
        ~Look();
        Look(const Look&) = delete;
        Look& operator=(const Look&) = delete;
        void stands(const std::string& thing) { seen_.insert(thing); }
        // `thing` is not as it should be and about to be put (back), after which it stands(). An error: in a fight, not
        // now. found: what was found, for people: "was gone", "was 1".
        Status put(const std::string& thing, const std::string& found = "was gone");
        // The same for what should not be there at all.
        Status remove(const std::string& thing);

    private:
        Repairs& repairs_;
        const Layer layer_;
        std::set<std::string> seen_;
    };

    // Something was taken away or added and is about to be mended. An error: in a fight, not now.
    Status note(Layer layer, const std::string& thing, const std::string& found);
    // After all layers: one event for each layer that needed repair, and fights that are over.
    void tell();
    // An error while somebody fights with us.
    [[nodiscard]] Status peace() const;
    [[nodiscard]] std::uint64_t count(Layer layer) const { return counts_.at(static_cast<std::size_t>(layer)); }
    [[nodiscard]] std::uint64_t total() const;
    [[nodiscard]] const std::set<std::string>& fights() const { return fights_; }

private:
    void forget_old(std::deque<Clock::time_point>& times) const;

    EventLog& events_;
    std::map<Layer, std::set<std::string>> standing_;
    std::array<std::uint64_t, static_cast<std::size_t>(Layer::count)> counts_{};
    struct Untold {
        std::string first;
        std::uint64_t count = 0;
    };
    std::map<Layer, Untold> untold_;
    std::map<std::string, std::deque<Clock::time_point>> history_; // of the last window
    std::set<std::string> fights_;
    Clock::time_point now_;
};

} // namespace penstock::core
