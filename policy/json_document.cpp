// JSON into a Document. What simdjson takes is taken; what it refuses, or what could cost it much memory, is read once
// more by nlohmann's SAX parser, which stops at the first limit and knows where.
#include "policy/document.hpp"

#include <nlohmann/json.hpp>
#include <simdjson.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace penstock::policy {
namespace {

using Json = nlohmann::json;

class Handler : public nlohmann::json_sax<Json> {
public:
    explicit Handler(Limit text_limit) : builder(text_limit) {}

    bool null() override { return step(builder.scalar(Kind::other, "null", 0)); }
    bool boolean(bool value) override { return step(builder.scalar(Kind::other, value ? "true" : "false", 0)); }
    bool number_integer(number_integer_t value) override {
        return step(builder.scalar(Kind::other, std::to_string(value), 0)); // the parser calls this for negative ones
    }
    bool number_unsigned(number_unsigned_t value) override {
        return step(builder.scalar(Kind::number, std::to_string(value), 0));
    }
    bool number_float(number_float_t, const string_t&) override {
        return step(builder.scalar(Kind::other, "a fraction", 0));
    }
    bool string(string_t& value) override { return step(builder.scalar(Kind::text, value, 0)); }
    bool binary(binary_t&) override { return false; }
    bool start_object(std::size_t) override { return step(builder.open(Kind::map, 0)); }
    bool start_array(std::size_t) override { return step(builder.open(Kind::list, 0)); }
    bool key(string_t& value) override { return step(builder.key(value, 0)); }
    bool end_object() override { return step(builder.close()); }
    bool end_array() override { return step(builder.close()); }

    // The parser's own sentence quotes the last token, which may be megabytes of a stranger's bytes: not repeated.
    bool parse_error(std::size_t position, const std::string&, const Json::exception& error) override {
        const std::string_view what = error.what();
        std::string why = "is not JSON";
        if (what.find("UTF-8") != what.npos) {
            why = "holds invalid UTF-8";
            code = EILSEQ;
        } else if (what.find("unexpected end of input") != what.npos)
            why = "ends too early (cut off?)";
        else if (what.find("expected end of input") != what.npos) {
            why = "has bytes after its end";
            code = EBADMSG;
        }
        failure = why + " at byte " + std::to_string(position);
        return false;
    }

    DocumentBuilder builder;
    std::string failure;
    int code = 0;

private:
    bool step(const Status& status) {
        if (status)
            return true;
        const std::string path = builder.path();
        failure = (path.empty() ? "" : path + ": ") + status.error().message();
        code = status.error().code();
        return false;
    }
};

Status add(simdjson::dom::element element, DocumentBuilder& builder) {
    using Type = simdjson::dom::element_type;
    std::int64_t integer = 0;
    switch (element.type()) {
    case Type::OBJECT: {
        if (auto ok = builder.open(Kind::map, 0); !ok)
            return ok;
        for (const auto field : simdjson::dom::object(element)) {
            if (auto ok = builder.key(field.key, 0); !ok)
                return ok;
            if (auto ok = add(field.value, builder); !ok)
                return ok;
        }
        return builder.close();
    }
    case Type::ARRAY: {
        if (auto ok = builder.open(Kind::list, 0); !ok)
            return ok;
        for (const auto item : simdjson::dom::array(element))
            if (auto ok = add(item, builder); !ok)
                return ok;
        return builder.close();
    }
    case Type::STRING:
        return builder.scalar(Kind::text, std::string_view(element), 0);
    case Type::INT64:
        integer = std::int64_t(element);
        return builder.scalar(integer < 0 ? Kind::other : Kind::number, std::to_string(integer), 0);
    case Type::UINT64:
        return builder.scalar(Kind::number, std::to_string(std::uint64_t(element)), 0);
    case Type::DOUBLE:
        return builder.scalar(Kind::other, "a fraction", 0);
    case Type::BOOL:
        return builder.scalar(Kind::other, bool(element) ? "true" : "false", 0);
    case Type::NULL_VALUE:
        break;
    }
    return builder.scalar(Kind::other, "null", 0);
}

// simdjson reads the whole text into 16 bytes a value before we see a limit: values are counted first, by what must
// stand before each.
bool is_moderate(std::string_view bytes) {
    const auto marks =
        std::ranges::count_if(bytes, [](char c) { return c == ',' || c == ':' || c == '[' || c == '{'; });
    return static_cast<std::uint64_t>(marks) < kMaxValues.value;
}

// False: let the other one look at it.
bool parse_fast(std::string_view bytes, Limit text_limit, Document& out) {
    simdjson::dom::parser parser;
    simdjson::dom::element root;
    if (!is_moderate(bytes) || parser.allocate(bytes.size(), kMaxDepth.value + 1) != simdjson::SUCCESS ||
        parser.parse(bytes.data(), bytes.size()).get(root) != simdjson::SUCCESS)
        return false;
    DocumentBuilder builder(text_limit);
    if (!add(root, builder) || !builder.complete())
        return false;
    out = builder.take();
    return true;
}

} // namespace

Result<Document> parse_json(std::string_view bytes, std::string_view what, Limit text_limit) {
    // nlohmann's lexer takes a NUL for the end of the input, so that bytes could hide behind one.
    if (const auto nul = bytes.find('\0'); nul != bytes.npos)
        return fail(std::string(what) + ": holds a NUL at byte " + std::to_string(nul));
    if (bytes.empty()) // the parser's own sentence for this differs between its versions
        return fail(std::string(what) + ": ends too early (cut off?) at byte 0");
    if (Document document; parse_fast(bytes, text_limit, document))
        return document;
    Handler handler(text_limit);
    const bool ok = Json::sax_parse(bytes.begin(), bytes.end(), &handler, Json::input_format_t::json, /*strict=*/true);
    if (!ok || !handler.builder.complete())
        return fail(std::string(what) + ": " + handler.failure, handler.code);
    return handler.builder.take();
}

} // namespace penstock::policy
