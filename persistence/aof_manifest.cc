#include "persistence/aof_manifest.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "fmt/core.h"
#include "persistence/crc64.h"
#include "protocol/split_args.h"

namespace tessera::persistence {
namespace {

constexpr size_t kLineBytesMax = 1024;  // Redis refuses longer ones
constexpr std::string_view kChecksumMark = "# checksum ";

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool NeedsQuotes(std::string_view name) {
  return name.empty() || name[0] == '#' || std::any_of(name.begin(), name.end(), [](char c) {
           return c <= ' ' || c > '~' || c == '"' || c == '\'' || c == '\\';
         });
}

void AppendLine(const AofPart& part, char type, std::string* out) {
  *out += fmt::format("file {} seq {} type {}", NeedsQuotes(part.name) ? protocol::Quoted(part.name) : part.name, part.sequence,
                      type);
  if (part.bytes_min > 0) *out += fmt::format(" bytes {}", part.bytes_min);
  *out += '\n';
}

std::string ChecksumLine(std::string_view text) { return fmt::format("{}{:016x}\n", kChecksumMark, Crc64(0, text)); }

struct ManifestLine {
  AofPart part;
  char type = 0;
};

// Empty text on success.
std::string ParseLine(std::string_view text, ManifestLine* line) {
  std::optional<std::vector<std::string>> words = protocol::SplitArgs(text);
  if (!words) return "a quote is not closed";
  if (words->size() < 6 || words->size() % 2 != 0) return "not a list of names and values with file, seq and type";
  for (size_t i = 0; i < words->size(); i += 2) {
    const std::string& name = (*words)[i];
    const std::string& value = (*words)[i + 1];
    auto number = [&value = value](uint64_t* out) {
      const char* end = value.data() + value.size();
      auto [stop, error] = std::from_chars(value.data(), end, *out);
      return error == std::errc() && stop == end;
    };
    if (EqualsIgnoringCase(name, "file")) {
      if (value.empty() || value == "." || value == ".." || value.find('/') != std::string::npos) {
        return fmt::format("{} is not a file name without directory", protocol::Quoted(value));
      }
      line->part.name = value;
    } else if (EqualsIgnoringCase(name, "seq")) {
      if (!number(&line->part.sequence) || line->part.sequence == 0) {
        return fmt::format("{} is not a sequence number", protocol::Quoted(value));
      }
    } else if (EqualsIgnoringCase(name, "type")) {
      if (value != "b" && value != "h" && value != "i") return fmt::format("unknown type {}", protocol::Quoted(value));
      line->type = value[0];
    } else if (EqualsIgnoringCase(name, "bytes")) {
      if (!number(&line->part.bytes_min)) return fmt::format("{} is not a number of bytes", protocol::Quoted(value));
    }
  }
  if (line->part.name.empty() || line->part.sequence == 0 || line->type == 0) return "file, seq or type is missing";
  return {};
}

}  // namespace

std::string AofManifest::Format() const {
  std::string text;
  if (base) AppendLine(*base, 'b', &text);
  for (const AofPart& part : history) AppendLine(part, 'h', &text);
  for (const AofPart& part : increments) AppendLine(part, 'i', &text);
  return text.empty() ? text : text + ChecksumLine(text);
}

Result<AofManifest> ParseAofManifest(std::string_view text) {
  AofManifest manifest;
  if (text.empty()) return Status::Invalid("the AOF manifest is empty");
  const std::string_view whole = text;
  for (int number = 1; !text.empty(); ++number) {
    auto bad = [&](std::string_view reason) {
      return Status::Invalid(fmt::format("line {} of the AOF manifest: {}", number, reason));
    };
    size_t end = text.find('\n');
    if (end == std::string_view::npos) return bad("not complete, the file was cut");
    std::string_view line_text = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line_text.starts_with(kChecksumMark)) {
      const size_t begin = static_cast<size_t>(line_text.data() - whole.data());
      if (manifest.has_checksum || fmt::format("{}\n", line_text) != ChecksumLine(whole.substr(0, begin)))
        return bad("the checksum does not match: the manifest is damaged, use a copy; if it was edited, remove this line");
      manifest.has_checksum = true;
      continue;
    }
    if (line_text.starts_with('#')) continue;
    if (manifest.has_checksum) return bad("follows the checksum line, which should be the last: remove that line if this was added by hand");
    if (line_text.size() > kLineBytesMax) return bad("too long");
    ManifestLine line;
    if (std::string reason = ParseLine(line_text, &line); !reason.empty()) return bad(reason);
    switch (line.type) {
      case 'b':
        if (manifest.base) return bad("a second base file");
        manifest.base = std::move(line.part);
        break;
      case 'h':
        manifest.history.push_back(std::move(line.part));
        break;
      default:
        if (!manifest.increments.empty() && line.part.sequence <= manifest.increments.back().sequence) {
          return bad("the sequence numbers of incremental files do not increase");
        }
        manifest.increments.push_back(std::move(line.part));
    }
  }
  return manifest;
}

std::string AofManifestName(std::string_view append_file_name) { return fmt::format("{}.manifest", append_file_name); }

std::string AofBaseName(std::string_view append_file_name, uint64_t sequence, AofBaseFormat format) {
  return fmt::format("{}.{}.base.{}", append_file_name, sequence, format == AofBaseFormat::kRdb ? "rdb" : "aof");
}

std::optional<uint64_t> AofIncrementSequence(std::string_view append_file_name, std::string_view name) {
  constexpr std::string_view kEnd = ".incr.aof";
  if (!name.starts_with(append_file_name) || !name.ends_with(kEnd)) return std::nullopt;
  name.remove_prefix(append_file_name.size());
  if (name.size() <= kEnd.size() + 1 || name[0] != '.') return std::nullopt;
  name = name.substr(1, name.size() - 1 - kEnd.size());
  uint64_t sequence = 0;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), sequence);
  if (error != std::errc() || stop != name.data() + name.size()) return std::nullopt;
  return sequence;
}

std::string AofIncrementName(std::string_view append_file_name, uint64_t sequence) {
  return fmt::format("{}.{}.incr.aof", append_file_name, sequence);
}

}  // namespace tessera::persistence
