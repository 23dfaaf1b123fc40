#include "server/prometheus.h"

#include <fmt/core.h>

#include "server/metrics.h"

namespace tessera {
namespace {

constexpr std::string_view kPrefix = "redis_";

// Backslashes, line ends and quotes are escaped, as the format has it for values of labels.
std::string Escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else {
      if (c == '\\' || c == '"') out += '\\';
      out += c;
    }
  }
  return out;
}

void AppendHead(std::string_view name, std::string_view type, std::string_view help, std::string& out) {
  out += fmt::format("# HELP {0}{1} {2}\n# TYPE {0}{1} {3}\n", kPrefix, name, help, type);
}

void AppendSample(std::string_view name, std::string_view suffix, const Labels& labels, std::string_view value,
                  std::string& out) {
  out += kPrefix;
  out += name;
  out += suffix;
  char separator = '{';
  for (const Label& label : labels) {
    out += fmt::format("{}{}=\"{}\"", separator, label.name, Escaped(label.value));
    separator = ',';
  }
  if (!labels.empty()) out += '}';
  out += ' ';
  out += value;
  out += '\n';
}

struct NumberText {
  double scale;
  std::string operator()(std::monostate) const { return {}; }
  std::string operator()(const std::string&) const { return {}; }
  std::string operator()(Decimal number) const { return fmt::format("{}", number.value * scale); }
  std::string operator()(Status status) const { return status.good ? "1" : "0"; }
  // Whole numbers stay whole: those beyond 2^53 have no place in a double.
  std::string operator()(int64_t number) const { return scale == 1 ? fmt::format("{}", number) : Scaled(number); }
  std::string operator()(uint64_t number) const { return scale == 1 ? fmt::format("{}", number) : Scaled(number); }

 private:
  template <typename Integer>
  std::string Scaled(Integer number) const {
    return fmt::format("{}", static_cast<double>(number) * scale);
  }
};

void AppendRows(const MetricSources& sources, std::span<const MetricRow> rows, std::string& out) {
  for (const MetricRow& row : rows) {
    const Exported& exported = row.exported;
    if (exported.name.empty()) continue;
    const std::string number = std::visit(NumberText{exported.scale}, row.get(sources));
    if (number.empty()) continue;  // does not apply now
    AppendHead(exported.name, row.kind == MetricKind::kCounter ? "counter" : "gauge", exported.help, out);
    AppendSample(exported.name, {}, exported.labels == nullptr ? Labels() : exported.labels(sources), number, out);
  }
}

void AppendSeries(const MetricSources& sources, std::span<const SeriesRow> series, std::string& out) {
  for (const SeriesRow& row : series) {
    bool first = true;
    row.samples(sources, [&](const Sample& sample) {
      if (first) AppendHead(row.name, row.type, row.help, out);
      first = false;
      AppendSample(row.name, sample.suffix, sample.labels, fmt::format("{}", sample.value), out);
    });
  }
}

}  // namespace

std::string RenderPrometheus(const Services& services, Now now) {
  const MetricSources sources(services, now);
  std::string out;
  out.reserve(size_t{32} << 10);
  for (const MetricSection& section : MetricSections()) {
    AppendRows(sources, section.rows, out);
    AppendSeries(sources, section.series, out);
    AppendRows(sources, section.rows_after, out);
  }
  return out;
}

}  // namespace tessera
