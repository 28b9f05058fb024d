// What `penstock doctor` finds: one line a thing looked at, with the mend where there is something to mend.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace penstock::doctor {

enum class Verdict { ok, warning, wrong };

struct Finding {
    std::string check; // "kernel", "gate", ...
    Verdict verdict = Verdict::ok;
    std::string what;
    std::string mend; // empty if all is well
};

class Report {
public:
    void ok(std::string check, std::string what) { add({std::move(check), Verdict::ok, std::move(what), ""}); }
    void warning(std::string check, std::string what, std::string mend) {
        add({std::move(check), Verdict::warning, std::move(what), std::move(mend)});
    }
    void wrong(std::string check, std::string what, std::string mend) {
        add({std::move(check), Verdict::wrong, std::move(what), std::move(mend)});
    }
    [[nodiscard]] const std::vector<Finding>& findings() const { return findings_; }

private:
    void add(Finding finding) { findings_.push_back(std::move(finding)); }
    std::vector<Finding> findings_;
};

} // namespace penstock::doctor
