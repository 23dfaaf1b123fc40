// Options whose value is more than one word or number; their rows are in option_table.cc.
#pragma once

#include "server/config/option.h"

namespace tessera::config {

extern const SpecialKind kMaxmemoryOption;  // bytes, "75%" or "auto"
extern const SpecialKind kSaveOption;
extern const SpecialKind kBindOption;
extern const SpecialKind kMetricsBindOption;
extern const SpecialKind kDirOption;
extern const SpecialKind kReplicaOfOption;
extern const SpecialKind kClientOutputBufferLimitOption;
extern const SpecialKind kNotifyKeyspaceEventsOption;
extern const SpecialKind kLatencyPercentilesOption;

// maxmemory in bytes from what it was given as, when memory_limit has changed.
void ResolveMaxmemory(Config& config);

// Reasons to refuse a value, empty if there is none.
std::string_view RefuseShutdownFlags(int64_t flags);
std::string_view RefuseDbFilename(std::string_view value);
std::string_view RefuseAppendFilename(std::string_view value);
std::string_view RefuseAppendDirname(std::string_view value);
std::string_view RefuseAnnouncedIp(std::string_view value);
std::string_view RefuseHostname(std::string_view value);
std::string_view RefuseSeeds(std::string_view value);
std::string_view RefuseHumanNodename(std::string_view value);
std::string_view RefuseIpv4(std::string_view value);
std::string_view RefuseIpv6(std::string_view value);
std::string_view RefuseProcTitleTemplate(std::string_view value);
std::string_view RefuseOomScoreAdjValues(std::string_view value);

}  // namespace tessera::config
