#include "server/info.h"

#include <fmt/core.h>

#include <random>
#include <set>

#include "protocol/args.h"
#include "server/metrics.h"

namespace tessera {
namespace {

void RenderRows(const MetricSources& sources, std::span<const MetricRow> rows, std::string& out) {
  for (const MetricRow& row : rows) {
    const MetricValue value = row.get(sources);
    if (std::holds_alternative<std::monostate>(value)) continue;
    out += row.name;
    out += ':';
    out += MetricText(value);
    out += "\r\n";
  }
}

void RenderSection(const MetricSources& sources, const MetricSection& section, std::string& out) {
  if (!out.empty()) out += "\r\n";
  out += fmt::format("# {}\r\n", section.title);
  RenderRows(sources, section.rows, out);
  if (section.lines != nullptr) section.lines(sources, out);
  RenderRows(sources, section.rows_after, out);
}

}  // namespace

std::string RenderInfo(const Services& services, Now now, std::span<const std::string_view> sections) {
  std::set<std::string_view> wanted;
  bool by_default = sections.empty(), all = false;
  for (std::string_view name : sections) {
    if (protocol::EqualsIgnoreCase(name, "default")) {
      by_default = true;
    } else if (protocol::EqualsIgnoreCase(name, "all") || protocol::EqualsIgnoreCase(name, "everything")) {
      all = true;
    } else {
      for (const MetricSection& section : MetricSections())
        if (protocol::EqualsIgnoreCase(name, section.name)) wanted.insert(section.name);
    }
  }
  const MetricSources sources(services, now);
  std::string out;
  for (const MetricSection& section : MetricSections()) {
    if (section.shown == MetricSection::Shown::kElsewhere) continue;
    if (all || (by_default && section.shown == MetricSection::Shown::kByDefault) || wanted.contains(section.name))
      RenderSection(sources, section, out);
  }
  return out;
}

const std::string& RunId() {
  static const std::string id = [] {
    std::random_device entropy;
    std::string text;
    for (int i = 0; i < 40; ++i) text += "0123456789abcdef"[entropy() & 15];
    return text;
  }();
  return id;
}

}  // namespace tessera
