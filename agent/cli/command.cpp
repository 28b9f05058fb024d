#include "agent/cli/command.hpp"

#include "agent/cli/bundle_commands.hpp"
#include "agent/cli/client.hpp"

#include <iostream>

namespace penstock::cli {

using Json = nlohmann::json;

void Command::failed(const Error& error) const {
    if (json)
        std::cout << Json{{"ok", false}, {"error", error.message()}}.dump() << "\n";
    else
        std::cerr << "penstock: " << error.message() << "\n";
    exit_code = kRefused;
}

void Command::print(const Json& answer, Show show) const { std::cout << (json ? answer.dump(2) + "\n" : show(answer)); }

Result<Json> Command::ask(const Json& request, std::string_view body) const {
    auto client = Client::connect(socket);
    if (!client)
        return tl::unexpected(client.error());
    return client->ask(request, body);
}

void Command::ask_and_print(const Json& request, Show show, std::string_view body) const {
    if (auto answer = ask(request, body))
        print(*answer, show);
    else
        failed(answer.error());
}

void examples(CLI::App* app, const std::string& lines) { app->footer("Examples:\n" + lines); }

std::shared_ptr<Command> command(CLI::App* app, const std::string& socket, int& exit_code) {
    auto out = std::make_shared<Command>(Command{socket, exit_code});
    app->add_flag("--json", out->json, "answer in JSON");
    return out;
}

} // namespace penstock::cli
