#include "server/config/option.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <limits>
#include <optional>

#include <fmt/core.h>

#include "protocol/args.h"
#include "protocol/memory_size.h"
#include "protocol/number.h"

namespace tessera::config {
namespace {

using protocol::EqualsIgnoreCase;

std::string ChoicesError(const Option& option) {
  std::string error = "argument(s) must be one of the following: ";
  for (const Choice& choice : option.choices) {
    if (&choice != option.choices.data()) error += ", ";
    error += choice.name;
  }
  return error;
}

std::optional<int64_t> ChoiceValue(const Option& option, std::string_view name) {
  for (const Choice& choice : option.choices) {
    if (EqualsIgnoreCase(choice.name, name)) return choice.value;
  }
  return std::nullopt;
}

bool CheckBounds(const Option& option, int64_t value, std::string& error) {
  // A bound beyond int64 belongs to an unsigned member: then the value is to be read as unsigned, and always fits.
  if (option.max > std::numeric_limits<int64_t>::max()) return true;
  if (value >= option.min && value <= static_cast<int64_t>(option.max)) return true;
  error = option.kind == Kind::kOctal
              ? fmt::format("argument must be between {:o} and {:o} inclusive", option.min, option.max)
              : fmt::format("argument must be between {} and {} inclusive", option.min, option.max);
  return false;
}

std::optional<int64_t> ParseOctal(std::string_view text) {
  int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> ParseMemory(const Option& option, std::string_view text, std::string& error) {
  if (option.kind == Kind::kMemoryOrPercent && !text.empty() && text.back() == '%') {
    const auto percent = protocol::ParseInt64(text.substr(0, text.size() - 1));
    if (percent && *percent >= 0) {
      if (*percent > -option.min) {
        error = fmt::format("percentage argument must be less or equal to {}", -option.min);
        return std::nullopt;
      }
      return -*percent;
    }
  } else if (const auto bytes = protocol::ParseMemorySize(text)) {
    if (*bytes > option.max) {
      error = fmt::format("argument must be between {} and {} inclusive", option.min, option.max);
      return std::nullopt;
    }
    return static_cast<int64_t>(*bytes);
  }
  error =
      option.kind == Kind::kMemory ? "argument must be a memory value" : "argument must be a memory or percent value";
  return std::nullopt;
}

// The value of every kind that is a number inside.
std::optional<int64_t> ParseNumber(const Option& option, Words words, std::string& error) {
  std::optional<int64_t> value;
  switch (option.kind) {
    case Kind::kBool:
      if (EqualsIgnoreCase(words[0], "yes")) return 1;
      if (EqualsIgnoreCase(words[0], "no")) return 0;
      error = "argument must be 'yes' or 'no'";
      return std::nullopt;
    case Kind::kEnum:
      value = ChoiceValue(option, words[0]);
      if (!value) error = ChoicesError(option);
      return value;
    case Kind::kFlagSet: {
      int64_t flags = 0;
      for (const std::string_view word : words) {
        value = ChoiceValue(option, word);
        if (!value) {
          error = ChoicesError(option);
          return std::nullopt;
        }
        flags |= *value;
      }
      if (words.empty()) {
        error = ChoicesError(option);
        return std::nullopt;
      }
      if (option.refuse_flags != nullptr) error = option.refuse_flags(flags);
      if (!error.empty()) return std::nullopt;
      return flags;
    }
    case Kind::kInteger:
      value = protocol::ParseInt64(words[0]);
      if (!value) error = "argument couldn't be parsed into an integer";
      break;
    case Kind::kOctal:
      value = ParseOctal(words[0]);
      if (!value) error = "argument couldn't be parsed as an octal number";
      break;
    case Kind::kMemory:
    case Kind::kMemoryOrPercent:
      value = ParseMemory(option, words[0], error);
      break;
    case Kind::kString:
    case Kind::kSpecial:
      assert(false);
  }
  if (!value || !CheckBounds(option, *value, error)) return std::nullopt;
  return std::clamp(*value, option.clamp_min, option.clamp_max);
}

std::string NumberText(const Option& option, int64_t value) {
  switch (option.kind) {
    case Kind::kBool:
      return value != 0 ? "yes" : "no";
    case Kind::kEnum:
      for (const Choice& choice : option.choices) {
        if (choice.value == value) return std::string(choice.name);
      }
      return "unknown";
    case Kind::kFlagSet: {
      std::string text;
      for (const Choice& choice : option.choices) {
        if (value == 0 ? choice.value != 0 : (choice.value == 0 || (value & choice.value) != choice.value)) continue;
        if (!text.empty()) text += ' ';
        text += choice.name;
      }
      return text;
    }
    case Kind::kOctal:
      return fmt::format("{:o}", value);
    case Kind::kMemoryOrPercent:
      if (value < 0) return fmt::format("{}%", -value);
      break;
    case Kind::kMemory:
      return fmt::format("{}", static_cast<uint64_t>(value));
    default:
      break;
  }
  return protocol::Int64Text(value);
}

size_t RowIndex(const Option& option) { return static_cast<size_t>(&option - AllOptions().data()); }

}  // namespace

Config::Config() {
  const auto options = AllOptions();
  inert.resize(options.size());
  for (const Option& option : options) {
    std::string error;
    [[maybe_unused]] const bool set = SetOptionFromText(*this, option, option.initial, error);
    assert(set);
  }
}

bool SetOption(Config& config, const Option& option, Words words, std::string& error) {
  if (option.kind == Kind::kSpecial) return option.special->set(config, words, error);
  if ((option.flags & kMultiWord) == 0 && words.size() != 1) {
    error = "wrong number of arguments";
    return false;
  }
  if (option.kind == Kind::kString) {
    std::string value;
    for (const std::string_view word : words) {
      if (!value.empty()) value += ' ';
      value += word;
    }
    if (option.refuse != nullptr) {
      const std::string_view reason = option.refuse(value);
      if (!reason.empty()) {
        error = reason;
        return false;
      }
    }
    if (option.set_text != nullptr) {
      option.set_text(config, value);
    } else {
      config.inert[RowIndex(option)] = value;
    }
    return true;
  }
  const auto value = ParseNumber(option, words, error);
  if (!value) return false;
  if (option.set_number != nullptr) {
    option.set_number(config, *value);
  } else {
    config.inert[RowIndex(option)] = NumberText(option, *value);
  }
  return true;
}

bool SetOptionFromText(Config& config, const Option& option, std::string_view text, std::string& error) {
  std::vector<std::string_view> words;
  if ((option.flags & kMultiWord) == 0) {
    words.push_back(text);
  } else if (!text.empty()) {
    // Every single space separates, as in Redis: two in a row give an empty word, which few options take.
    size_t start = 0;
    for (size_t space = 0; (space = text.find(' ', start)) != std::string_view::npos; start = space + 1) {
      words.push_back(text.substr(start, space - start));
    }
    words.push_back(text.substr(start));
  }
  return SetOption(config, option, words, error);
}

std::string OptionText(const Config& config, const Option& option) {
  if (option.kind == Kind::kSpecial) return option.special->get(config);
  if (option.get_text != nullptr) return option.get_text(config);
  if (option.get_number != nullptr) return NumberText(option, option.get_number(config));
  return config.inert[RowIndex(option)];
}

}  // namespace tessera::config
