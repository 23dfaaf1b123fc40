#include "server/config/options.h"

#include <algorithm>

#include <fmt/core.h>

#include "protocol/args.h"
#include "protocol/glob.h"
#include "server/config/option.h"

namespace tessera::config {
namespace {

std::string SetFailed(std::string_view name, std::string_view reason) {
  return fmt::format("ERR CONFIG SET failed (possibly related to argument '{}') - {}", name, reason);
}

// An option and the name it was called by: an option and its older name count as two.
struct Named {
  const Option* option;
  bool by_alias;
  std::string_view name() const { return by_alias ? option->alias : option->name; }
  bool operator==(const Named&) const = default;
};

}  // namespace

void Options::Subscribe(std::initializer_list<std::string_view> names, Apply apply) {
  Subscription subscription;
  subscription.names.assign(names.begin(), names.end());
  subscription.apply = std::move(apply);
  subscriptions_.push_back(std::move(subscription));
}

Options::Pairs Options::Get(std::span<const std::string_view> globs) const {
  Pairs pairs;
  const auto known = [&pairs](std::string_view name) {
    return std::any_of(pairs.begin(), pairs.end(),
                       [name](const auto& pair) { return protocol::EqualsIgnoreCase(pair.first, name); });
  };
  for (const std::string_view glob : globs) {
    if (!protocol::IsLiteralGlob(glob)) continue;
    const Option* option = FindOption(glob);
    if (option != nullptr && !known(glob)) pairs.emplace_back(glob, OptionText(config_, *option));
  }
  for (const Option& option : AllOptions()) {
    if ((option.flags & kHidden) != 0) continue;
    for (const std::string_view name : {option.name, option.alias}) {
      if (name.empty() || known(name)) continue;
      const bool matches = std::any_of(globs.begin(), globs.end(), [name](std::string_view glob) {
        return !protocol::IsLiteralGlob(glob) && protocol::GlobMatch(glob, name, protocol::GlobCase::kInsensitive);
      });
      if (matches) pairs.emplace_back(name, OptionText(config_, option));
    }
  }
  return pairs;
}

std::string Options::Set(std::span<const std::string_view> pairs, const Caller& caller) {
  if (pairs.empty() || pairs.size() % 2 != 0) return std::string(protocol::kSyntaxError);

  std::vector<Named> targets;
  for (size_t i = 0; i < pairs.size(); i += 2) {
    const Option* option = FindOption(pairs[i]);
    if (option == nullptr) {
      return fmt::format("ERR Unknown option or number of arguments for CONFIG SET - '{}'", pairs[i]);
    }
    if ((option->flags & kImmutable) != 0) return SetFailed(pairs[i], "can't set immutable config");
    const Allowed allowed = config_.enable_protected_configs;
    if ((option->flags & kProtected) != 0 &&
        !(allowed == Allowed::kYes || (allowed == Allowed::kLocal && caller.local))) {
      return SetFailed(pairs[i], "can't set protected config");
    }
    if ((option->flags & kDenyLoading) != 0 && caller.loading) {
      return "LOADING Redis is loading the dataset in memory";
    }
    const Named target{option, !protocol::EqualsIgnoreCase(option->name, pairs[i])};
    if (std::find(targets.begin(), targets.end(), target) != targets.end()) {
      return SetFailed(pairs[i], "duplicate parameter");
    }
    targets.push_back(target);
  }

  Config before = config_;
  std::vector<std::string_view> changed;
  for (size_t i = 0; i < targets.size(); ++i) {
    std::string reason;
    if (!SetOptionFromText(config_, *targets[i].option, pairs[2 * i + 1], reason)) {
      config_ = std::move(before);
      return SetFailed(targets[i].name(), reason);
    }
  }
  for (const Named& target : targets) {
    if (OptionText(config_, *target.option) != OptionText(before, *target.option))
      changed.push_back(target.option->name);
  }

  for (size_t i = 0; i < subscriptions_.size(); ++i) {
    const auto concerned = [this, &changed](size_t index) {
      const auto& names = subscriptions_[index].names;
      return std::find_first_of(changed.begin(), changed.end(), names.begin(), names.end());
    };
    const auto culprit = concerned(i);
    if (culprit == changed.end()) continue;
    const std::string reason = subscriptions_[i].apply(config_, before);
    if (reason.empty()) continue;
    // The values go back first, then everyone who has acted on the new ones is told.
    const std::string_view name = *culprit;
    std::swap(config_, before);
    for (size_t j = 0; j <= i; ++j) {
      if (concerned(j) != changed.end()) subscriptions_[j].apply(config_, before);
    }
    for (const Named& target : targets) {
      if (target.option->name == name) return SetFailed(target.name(), reason);
    }
    return SetFailed(name, reason);
  }
  return {};
}

bool Options::IsSensitive(std::string_view name) {
  const Option* option = FindOption(name);
  return option != nullptr && (option->flags & kSensitive) != 0;
}

std::vector<std::string> Options::InertInUse() const {
  const Config defaults;
  std::vector<std::string> names;
  for (const Option& option : AllOptions()) {
    if (!option.InEffect() && OptionText(config_, option) != OptionText(defaults, option)) {
      names.emplace_back(option.name);
    }
  }
  if (!config_.user_lines.empty()) names.emplace_back("user");
  if (!config_.module_lines.empty()) names.emplace_back("loadmodule");
  return names;
}

}  // namespace tessera::config
