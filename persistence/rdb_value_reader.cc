#include "persistence/rdb_value_reader.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>

#include "fmt/core.h"
#include "persistence/rdb_format.h"

namespace tessera::persistence {
namespace {

// One call's work, in bytes; a part counts as some even when it is small.
constexpr uint64_t kWorkMax = 256 << 10;
constexpr uint64_t kWorkPerPart = 1 << 10;
constexpr int64_t kFieldExpiryMaxMs = (int64_t{1} << 48) - 1;  // as Redis 7.4 limits them
constexpr std::string_view kBrokenCompression = "compressed data is broken";
constexpr uint64_t kPlainNode = 1, kPackedNode = 2;
constexpr size_t kDuplicatesByComparisonMax = 8;

bool IsStream(uint8_t type) { return type == kRdbTypeStream1 || type == kRdbTypeStream2 || type == kRdbTypeStream3; }

std::optional<PackedFormat> BlobFormat(uint8_t type) {
  switch (type) {
    case kRdbTypeHashZipmap:
      return PackedFormat::kZipmap;
    case kRdbTypeListZiplist:
    case kRdbTypeZsetZiplist:
    case kRdbTypeHashZiplist:
      return PackedFormat::kZiplist;
    case kRdbTypeSetIntset:
      return PackedFormat::kIntset;
    case kRdbTypeHashListpack:
    case kRdbTypeZsetListpack:
    case kRdbTypeSetListpack:
    case kRdbTypeHashListpackExpiry:
    case kRdbTypeHashListpackExpiryPreGa:
      return PackedFormat::kListpack;
  }
  return std::nullopt;
}

std::string_view FormatName(PackedFormat format) {
  switch (format) {
    case PackedFormat::kListpack:
      return "listpack";
    case PackedFormat::kZiplist:
      return "ziplist";
    case PackedFormat::kZipmap:
      return "zipmap";
    case PackedFormat::kIntset:
      break;
  }
  return "set of integers";
}

std::optional<double> Score(const PackedElement& element) {
  if (element.is_number) return static_cast<double>(element.number);
  return ParseScore(element.text);
}

bool IsFieldExpiry(const PackedElement& element) {
  return element.is_number && element.number >= 0 && element.number <= kFieldExpiryMaxMs;
}

}  // namespace

std::optional<double> ParseScore(std::string_view text) {
  double score;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), score);
  if (error != std::errc() || end != text.data() + text.size() || std::isnan(score)) return std::nullopt;
  return score;
}

bool RdbValueReader::Knows(uint8_t type) {
  return type <= kRdbTypeHashListpackExpiry && type != kRdbTypeModulePreGa && type != kRdbTypeModule && type != 8;
}

void RdbValueReader::Start(uint8_t type, const EntryHeader& header) {
  type_ = type;
  header_ = header;
  phase_ = Phase::kStart;
  begun_ = false;
  expiry_base_ms_ = 0;
  stream_.reset();
  if (IsStream(type)) stream_.emplace(type, header);
}

RdbValueReader::Shape RdbValueReader::ShapeOf(uint8_t type) {
  switch (type) {
    case kRdbTypeList:
    case kRdbTypeListZiplist:
    case kRdbTypeListQuicklist:
    case kRdbTypeListQuicklist2:
      return Shape::kList;
    case kRdbTypeSet:
    case kRdbTypeSetIntset:
    case kRdbTypeSetListpack:
      return Shape::kSet;
    case kRdbTypeHash:
    case kRdbTypeHashZipmap:
    case kRdbTypeHashZiplist:
    case kRdbTypeHashListpack:
      return Shape::kHash;
    case kRdbTypeHashExpiry:
    case kRdbTypeHashExpiryPreGa:
    case kRdbTypeHashListpackExpiry:
    case kRdbTypeHashListpackExpiryPreGa:
      return Shape::kHashWithExpiry;
  }
  return Shape::kSortedSet;
}

uint64_t RdbValueReader::ElementsPerPart(Shape shape) {
  if (shape == Shape::kHashWithExpiry) return 3;
  return shape == Shape::kHash || shape == Shape::kSortedSet ? 2 : 1;
}

RdbStep RdbValueReader::Fail(size_t position, std::string reason) {
  bad_ = {position, std::move(reason)};
  return RdbStep::kFailed;
}

RdbStep RdbValueReader::Stopped(const RdbCursor& cursor, RdbGot got) {
  if (got == RdbGot::kNeedMore) return RdbStep::kNeedMore;
  return Fail(cursor.bad_position(), cursor.bad_reason());
}

RdbStep RdbValueReader::Read(RdbCursor& cursor, SnapshotVisitor& visitor) {
  if (stream_) return stream_->Read(cursor, visitor, &bad_);
  work_ = 0;
  if (phase_ == Phase::kStart) {
    const size_t begin = cursor.position();
    const RdbStep step = ReadStart(cursor, visitor);
    if (step == RdbStep::kNeedMore) cursor.Seek(begin);
    if (step != RdbStep::kPart) return step;
  }
  return phase_ == Phase::kNodes ? ReadNodes(cursor, visitor) : ReadElements(cursor, visitor);
}

RdbStep RdbValueReader::ReadStart(RdbCursor& cursor, SnapshotVisitor& visitor) {
  if (type_ == kRdbTypeString) {
    RdbString value;
    if (RdbGot got = cursor.String(&value); got != RdbGot::kOk) return Stopped(cursor, got);
    std::string_view text;
    if (!RdbCursor::Decode(value, &scratch_, &text)) return Fail(value.position, std::string(kBrokenCompression));
    visitor.String(header_, text);
    return RdbStep::kDone;
  }
  const size_t base_position = cursor.position();
  if (type_ == kRdbTypeHashExpiry || type_ == kRdbTypeHashListpackExpiry) {
    if (RdbGot got = cursor.LittleEndian(8, &expiry_base_ms_); got != RdbGot::kOk) return Stopped(cursor, got);
    if (expiry_base_ms_ > static_cast<uint64_t>(kFieldExpiryMaxMs) + 1) {
      return Fail(base_position, "the earliest expiry of its fields is not a time");
    }
  }
  if (BlobFormat(type_)) return ReadBlob(cursor, visitor);
  if (RdbGot got = cursor.Length(&left_); got != RdbGot::kOk) return Stopped(cursor, got);
  if (left_ == 0) return RdbStep::kNoValue;
  if (type_ == kRdbTypeListQuicklist || type_ == kRdbTypeListQuicklist2) {
    phase_ = Phase::kNodes;
    return RdbStep::kPart;
  }
  phase_ = Phase::kElements;
  Begin(ShapeOf(type_), left_, visitor);
  return RdbStep::kPart;
}

void RdbValueReader::Begin(Shape shape, uint64_t count, SnapshotVisitor& visitor) {
  begun_ = true;
  switch (shape) {
    case Shape::kList:
      return visitor.BeginList(header_, count);
    case Shape::kSet:
      return visitor.BeginSet(header_, count);
    case Shape::kHash:
    case Shape::kHashWithExpiry:
      return visitor.BeginHash(header_, count, shape == Shape::kHashWithExpiry);
    case Shape::kSortedSet:
      return visitor.BeginSortedSet(header_, count);
  }
}

RdbStep RdbValueReader::ReadElements(RdbCursor& cursor, SnapshotVisitor& visitor) {
  while (left_ > 0) {
    if (work_ > kWorkMax) return RdbStep::kPart;
    const size_t begin = cursor.position();
    if (RdbGot got = ReadElement(cursor, visitor); got != RdbGot::kOk) {
      cursor.Seek(begin);
      return got == RdbGot::kNeedMore ? RdbStep::kNeedMore : RdbStep::kFailed;
    }
    --left_;
    work_ += kWorkPerPart;
  }
  visitor.EndValue();
  return RdbStep::kDone;
}

RdbGot RdbValueReader::ReadElement(RdbCursor& cursor, SnapshotVisitor& visitor) {
  auto bad = [&](size_t position, std::string reason) {
    Fail(position, std::move(reason));
    return RdbGot::kBad;
  };
  auto stopped = [&](RdbGot got) {
    Stopped(cursor, got);
    return got;
  };
  const Shape shape = ShapeOf(type_);
  RdbString first, second;
  uint64_t expiry = 0;
  double score = 0;
  const size_t begin = cursor.position();
  if (shape == Shape::kHashWithExpiry) {
    if (RdbGot got = cursor.Length(&expiry); got != RdbGot::kOk) return stopped(got);
    const uint64_t base = expiry != 0 && type_ == kRdbTypeHashExpiry ? expiry_base_ms_ : 1;
    constexpr uint64_t kMax = kFieldExpiryMaxMs;
    if (expiry > kMax || expiry + base > kMax + 1) return bad(begin, "a field's expiry is not a time");
    expiry = expiry + base - 1;
  }
  if (RdbGot got = cursor.String(&first); got != RdbGot::kOk) return stopped(got);
  if (shape == Shape::kHash || shape == Shape::kHashWithExpiry) {
    if (RdbGot got = cursor.String(&second); got != RdbGot::kOk) return stopped(got);
  }
  const size_t score_position = cursor.position();
  if (type_ == kRdbTypeZset) {
    uint64_t bits;
    if (RdbGot got = cursor.LittleEndian(8, &bits); got != RdbGot::kOk) return stopped(got);
    score = std::bit_cast<double>(bits);
  } else if (type_ == kRdbTypeZsetText) {
    if (RdbGot got = ReadTextScore(cursor, &score); got != RdbGot::kOk) return stopped(got);
  }
  if (std::isnan(score)) return bad(score_position, "a score is not a number");

  std::string_view text, other;
  if (!RdbCursor::Decode(first, &scratch_, &text)) return bad(first.position, std::string(kBrokenCompression));
  work_ += text.size();
  switch (shape) {
    case Shape::kList:
    case Shape::kSet:
      visitor.Item(text);
      break;
    case Shape::kHash:
    case Shape::kHashWithExpiry:
      if (!RdbCursor::Decode(second, &other_scratch_, &other)) {
        return bad(second.position, std::string(kBrokenCompression));
      }
      work_ += other.size();
      visitor.Pair(text, other, expiry == 0 ? kNoExpiry : static_cast<int64_t>(expiry));
      break;
    case Shape::kSortedSet:
      visitor.Scored(text, score);
      break;
  }
  return RdbGot::kOk;
}

// A score that cannot be read becomes NaN.
RdbGot RdbValueReader::ReadTextScore(RdbCursor& cursor, double* score) {
  *score = std::numeric_limits<double>::quiet_NaN();
  uint8_t bytes;
  if (RdbGot got = cursor.Byte(&bytes); got != RdbGot::kOk) return got;
  if (bytes == 253) return RdbGot::kOk;
  if (bytes >= 254) {
    *score = bytes == 254 ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
    return RdbGot::kOk;
  }
  char text[253];
  for (int i = 0; i < bytes; ++i) {
    uint8_t byte;
    if (RdbGot got = cursor.Byte(&byte); got != RdbGot::kOk) return got;
    text[i] = static_cast<char>(byte);
  }
  if (std::optional<double> parsed = ParseScore({text, bytes})) *score = *parsed;
  return RdbGot::kOk;
}

RdbStep RdbValueReader::ReadNodes(RdbCursor& cursor, SnapshotVisitor& visitor) {
  while (left_ > 0) {
    if (work_ > kWorkMax) return RdbStep::kPart;
    const size_t begin = cursor.position();
    if (RdbStep step = ReadNode(cursor, visitor); step != RdbStep::kPart) {
      cursor.Seek(begin);
      return step;
    }
    --left_;
    work_ += kWorkPerPart;
  }
  if (!begun_) return RdbStep::kNoValue;
  visitor.EndValue();
  return RdbStep::kDone;
}

RdbStep RdbValueReader::ReadNode(RdbCursor& cursor, SnapshotVisitor& visitor) {
  const size_t begin = cursor.position();
  uint64_t kind = kPackedNode;
  PackedFormat format = PackedFormat::kZiplist;
  if (type_ == kRdbTypeListQuicklist2) {
    format = PackedFormat::kListpack;
    if (RdbGot got = cursor.Length(&kind); got != RdbGot::kOk) return Stopped(cursor, got);
    if (kind != kPlainNode && kind != kPackedNode) return Fail(begin, fmt::format("a list node of kind {}", kind));
  }
  RdbString stored;
  if (RdbGot got = cursor.String(&stored); got != RdbGot::kOk) return Stopped(cursor, got);
  std::string_view node;
  if (!RdbCursor::Decode(stored, &scratch_, &node)) return Fail(stored.position, std::string(kBrokenCompression));
  work_ += node.size();
  if (node.empty()) return Fail(stored.position, "an empty list node");
  if (kind == kPlainNode) {
    if (!begun_) Begin(Shape::kList, kCountUnknown, visitor);
    visitor.Item(node);
    return RdbStep::kPart;
  }
  uint64_t elements;
  if (std::string_view reason = CheckBlob(format, Shape::kList, node, &elements); !reason.empty()) {
    return Fail(stored.position, fmt::format("the {} of a list node is broken: {}", FormatName(format), reason));
  }
  if (elements == 0) return RdbStep::kPart;  // old servers wrote such nodes by mistake
  if (!begun_) Begin(Shape::kList, kCountUnknown, visitor);
  work_ += kWorkPerPart * elements;
  HandOut(format, Shape::kList, node, visitor);
  return RdbStep::kPart;
}

RdbStep RdbValueReader::ReadBlob(RdbCursor& cursor, SnapshotVisitor& visitor) {
  RdbString stored;
  if (RdbGot got = cursor.String(&stored); got != RdbGot::kOk) return Stopped(cursor, got);
  std::string_view blob;
  if (!RdbCursor::Decode(stored, &scratch_, &blob)) return Fail(stored.position, std::string(kBrokenCompression));
  const PackedFormat format = *BlobFormat(type_);
  const Shape shape = ShapeOf(type_);
  uint64_t elements;
  if (std::string_view reason = CheckBlob(format, shape, blob, &elements); !reason.empty()) {
    return Fail(stored.position, fmt::format("its {} is broken: {}", FormatName(format), reason));
  }
  if (elements == 0) return RdbStep::kNoValue;
  const uint64_t stride = ElementsPerPart(shape);
  Begin(shape, elements / stride, visitor);
  HandOut(format, shape, blob, visitor);
  visitor.EndValue();
  return RdbStep::kDone;
}

std::string_view RdbValueReader::CheckBlob(PackedFormat format, Shape shape, std::string_view blob,
                                           uint64_t* elements) {
  PackedReader reader(format, blob);
  PackedElement element;
  PackedReader::Got got;
  const uint64_t stride = ElementsPerPart(shape);
  while ((got = reader.Next(&element)) == PackedReader::Got::kElement) {
    if (reader.count() % stride != 0) continue;
    if (shape == Shape::kSortedSet && !Score(element)) return "a score is not a number";
    if (shape == Shape::kHashWithExpiry && !IsFieldExpiry(element)) return "a field's expiry is not a time";
  }
  if (got == PackedReader::Got::kBad) return reader.reason();
  *elements = reader.count();
  if (*elements % stride != 0) return "its last entry is incomplete";
  if (shape == Shape::kList || format == PackedFormat::kIntset) return {};
  return HasDuplicates(format, blob, *elements, stride) ? "a member or field comes twice" : std::string_view();
}

bool RdbValueReader::HasDuplicates(PackedFormat format, std::string_view blob, uint64_t elements, size_t stride) {
  members_.clear();
  number_texts_.clear();
  number_texts_.reserve(elements / stride * PackedElement::kNumberTextMax);  // views of it must stay
  PackedReader reader(format, blob);
  PackedElement element;
  while (reader.Next(&element) == PackedReader::Got::kElement) {
    if ((reader.count() - 1) % stride != 0) continue;
    if (!element.is_number) {
      members_.push_back(element.text);
      continue;
    }
    char text[PackedElement::kNumberTextMax];
    std::string_view decimal = element.ToText(text);
    members_.emplace_back(number_texts_.data() + number_texts_.size(), decimal.size());
    number_texts_ += decimal;
  }
  if (members_.size() <= kDuplicatesByComparisonMax) {
    for (size_t i = 1; i < members_.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (members_[i] == members_[j]) return true;
      }
    }
    return false;
  }
  std::sort(members_.begin(), members_.end());
  return std::adjacent_find(members_.begin(), members_.end()) != members_.end();
}

// After CheckBlob.
void RdbValueReader::HandOut(PackedFormat format, Shape shape, std::string_view blob, SnapshotVisitor& visitor) {
  PackedReader reader(format, blob);
  PackedElement element, second, third;
  char text[PackedElement::kNumberTextMax], other[PackedElement::kNumberTextMax];
  while (reader.Next(&element) == PackedReader::Got::kElement) {
    switch (shape) {
      case Shape::kList:
      case Shape::kSet:
        visitor.Item(element.ToText(text));
        break;
      case Shape::kHash:
        reader.Next(&second);
        visitor.Pair(element.ToText(text), second.ToText(other), kNoExpiry);
        break;
      case Shape::kHashWithExpiry:
        reader.Next(&second);
        reader.Next(&third);
        visitor.Pair(element.ToText(text), second.ToText(other), third.number == 0 ? kNoExpiry : third.number);
        break;
      case Shape::kSortedSet:
        reader.Next(&second);
        visitor.Scored(element.ToText(text), *Score(second));
        break;
    }
  }
}

}  // namespace tessera::persistence
