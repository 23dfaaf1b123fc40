// Looking into how values are kept: OBJECT, and MEMORY for the server's memory as a whole.
#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <string>

#include "server/clients.h"
#include "server/commands/data.h"
#include "server/commands/table.h"
#include "server/config/config.h"
#include "server/memory_meter.h"
#include "server/memory_usage.h"
#include "server/metrics.h"
#include "server/stats.h"

// Present only when jemalloc is linked.
extern "C" void malloc_stats_print(void (*write)(void*, const char*), void* context, const char* options)
    __attribute__((weak));

namespace tessera {
namespace {

using store::AccessPolicy;
using store::EntryRef;

// The entry OBJECT and MEMORY USAGE are about; null is replied when it is missing. Looking does not count as use.
EntryRef Subject(CommandContext& ctx) {
  const EntryRef entry = ctx.FindToInspect(ctx.argv[2]);
  if (!entry) ctx.reply.Null();
  return entry;
}

void ObjectEncoding(CommandContext& ctx) {
  if (const EntryRef entry = Subject(ctx)) ctx.reply.Bulk(entry.encoding_name());
}

void ObjectFreq(CommandContext& ctx) {
  const EntryRef entry = Subject(ctx);
  if (!entry) return;
  if (ctx.keyspace.access_policy() != AccessPolicy::kLfu)
    return ctx.reply.Error(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
        "between policies at runtime LRU and LFU data will take some time to adjust.");
  ctx.reply.Integer(ctx.keyspace.Frequency(entry));
}

void ObjectIdleTime(CommandContext& ctx) {
  const EntryRef entry = Subject(ctx);
  if (!entry) return;
  if (ctx.keyspace.access_policy() == AccessPolicy::kLfu)
    return ctx.reply.Error(
        "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between "
        "policies at runtime LRU and LFU data will take some time to adjust.");
  ctx.reply.Integer(static_cast<int64_t>(ctx.keyspace.IdleSeconds(entry)));
}

// Nothing is shared here. Redis shares the integers below 10000 and shows so as INT_MAX, which tests of clients expect.
void ObjectRefCount(CommandContext& ctx) {
  const EntryRef entry = Subject(ctx);
  if (!entry) return;
  const bool small_integer =
      entry.encoding_name() == "int" && entry.AsInteger().value_or(-1) >= 0 && entry.AsInteger().value_or(-1) < 10000;
  ctx.reply.Integer(small_integer ? std::numeric_limits<int>::max() : 1);
}

void ReplyHelp(CommandContext& ctx, std::initializer_list<std::string_view> lines) {
  ctx.reply.Array(static_cast<int64_t>(lines.size()));
  for (std::string_view line : lines) ctx.reply.SimpleString(line);
}

void ObjectHelp(CommandContext& ctx) {
  ReplyHelp(ctx, {
                     "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                     "ENCODING <key>",
                     "    How the value of the key is represented in memory.",
                     "FREQ <key>",
                     "    Logarithmic counter of the uses of the key (LFU policies only).",
                     "IDLETIME <key>",
                     "    Seconds since the key was last used (other policies only).",
                     "REFCOUNT <key>",
                     "    How often the value is referenced.",
                     "HELP",
                     "    This text.",
                 });
}

void MemoryUsageOfKey(CommandContext& ctx) {
  protocol::ArgReader args(ctx.argv, 3);
  while (args.HasNext()) {
    if (!args.Check("SAMPLES", 1)) {
      args.SyntaxError();
    } else if (args.NextInt<int64_t>() < 0) {
      args.SyntaxError();
    }
  }
  if (!args.ok()) return ctx.reply.Error(args.error());
  if (const EntryRef entry = Subject(ctx)) ctx.reply.Integer(static_cast<int64_t>(entry.MemoryBytes()));
}

void MemoryStats(CommandContext& ctx) {
  const MetricSources sources(ctx.services, ctx.now);
  const store::KeyspaceMemory& memory = sources.keyspace_memory;
  const MemoryUsage& usage = sources.memory;
  const uint64_t total = sources.used_memory;
  const uint64_t startup = ctx.services.memory == nullptr ? 0 : ctx.services.memory->startup_bytes();
  const uint64_t peak = std::max<uint64_t>(ctx.services.stats.peak_memory, total);
  const uint64_t keys = ctx.keyspace.size();
  const uint64_t dataset = sources.dataset_bytes();
  const uint64_t net = total - std::min(total, startup);
  int databases = 0;
  for (int i = 0; i < ctx.keyspace.database_count(); ++i) databases += ctx.keyspace.db(i).size() != 0 ? 1 : 0;

  auto& reply = ctx.reply;
  const auto number = [&](std::string_view name, uint64_t value) {
    reply.Bulk(name);
    reply.Integer(static_cast<int64_t>(value));
  };
  const auto ratio = [&](std::string_view name, uint64_t part, uint64_t whole, int factor = 1) {
    reply.Bulk(name);
    reply.Double(whole == 0 ? 0 : factor * static_cast<double>(part) / static_cast<double>(whole));
  };
  reply.Map(27 + databases);
  number("peak.allocated", peak);
  number("total.allocated", total);
  number("startup.allocated", startup);
  number("replication.backlog", sources.replication.backlog_active ? sources.replication.backlog_size : 0);
  number("clients.slaves", sources.replica_client_bytes);
  number("clients.normal", sources.normal_client_bytes);
  number("cluster.links", 0);
  number("aof.buffer", sources.persistence.aof_buffer_length);
  number("lua.caches", 0);
  number("functions.caches", 0);
  for (int i = 0; i < ctx.keyspace.database_count(); ++i) {
    const uint64_t size = ctx.keyspace.db(i).size();
    if (size == 0) continue;
    // The tables of all databases are counted together; each shows its share by keys. Expiries and slots need no tables of
    // their own.
    reply.Bulk(fmt::format("db.{}", i));
    reply.Map(3);
    number("overhead.hashtable.main",
           static_cast<uint64_t>(static_cast<double>(memory.table_bytes) * static_cast<double>(size) /
                                 static_cast<double>(keys)));
    number("overhead.hashtable.expires", 0);
    number("overhead.hashtable.slot-to-keys", 0);
  }
  number("overhead.total", total - dataset);
  number("keys.count", keys);
  number("keys.bytes-per-key", keys == 0 ? 0 : net / keys);
  number("dataset.bytes", dataset);
  ratio("dataset.percentage", dataset, net, 100);
  ratio("peak.percentage", total, peak, 100);
  number("allocator.allocated", usage.allocated);
  number("allocator.active", usage.active);
  number("allocator.resident", usage.resident);
  // The process is more than the allocator's part: the keyspace's pages are mapped by the keyspace itself.
  const auto difference = [&](std::string_view name, size_t a, size_t b) {
    reply.Bulk(name);
    reply.Integer(static_cast<int64_t>(a) - static_cast<int64_t>(b));
  };
  ratio("allocator-fragmentation.ratio", usage.active, usage.allocated);
  difference("allocator-fragmentation.bytes", usage.active, usage.allocated);
  ratio("allocator-rss.ratio", usage.resident, usage.active);
  difference("allocator-rss.bytes", usage.resident, usage.active);
  ratio("rss-overhead.ratio", usage.rss, usage.resident);
  difference("rss-overhead.bytes", usage.rss, usage.resident);
  ratio("fragmentation", usage.rss, total);
  difference("fragmentation.bytes", usage.rss, total);
}

void MemoryDoctor(CommandContext& ctx) {
  const MetricSources sources(ctx.services, ctx.now);
  const uint64_t total = sources.used_memory;
  if (total < uint64_t{5} << 20)
    return ctx.reply.Verbatim("txt", "There is too little in memory to say anything about it.\n");
  std::string text;
  const store::KeyspaceMemory& memory = sources.keyspace_memory;
  const config::Config& config = ctx.services.config;
  const auto mib = [](uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  if (ctx.services.stats.peak_memory > total + total / 2)
    text += fmt::format(
        "- Peak: {:.1f} MiB were used once, {:.1f} MiB now. Pages freed since may still be resident; MEMORY PURGE gives back "
        "what it can.\n",
        mib(ctx.services.stats.peak_memory), mib(total));
  if (memory.resident_bytes > memory.entry_bytes + memory.entry_bytes / 2 + (size_t{8} << 20))
    text += fmt::format(
        "- Gaps: of {:.1f} MiB of pages for small entries {:.1f} MiB are in use. Keys were deleted; new ones fill the gaps.\n",
        mib(memory.resident_bytes), mib(memory.entry_bytes));
  const MemoryUsage& usage = sources.memory;
  if (usage.active > usage.allocated + usage.allocated * 2 / 5 + (size_t{10} << 20))
    text += fmt::format(
        "- Fragmentation: the allocator holds {:.1f} MiB in pages for {:.1f} MiB handed out. Values of changing size do this.\n",
        mib(usage.active), mib(usage.allocated));
  const size_t clients = std::max<size_t>(ctx.services.clients.size(), 1);
  if (sources.normal_client_bytes / clients > 200 << 10)
    text += fmt::format(
        "- Clients: they hold {:.0f} KiB each on average: large replies that are read slowly. CLIENT LIST (tot-mem) names "
        "them; maxmemory-clients and client-output-buffer-limit bound them.\n",
        static_cast<double>(sources.normal_client_bytes) / 1024 / static_cast<double>(clients));
  if (sources.replica_client_bytes > 10 << 20)
    text += fmt::format("- Replicas: {:.1f} MiB wait to be sent to them: they, or the network, do not keep up.\n",
                        mib(sources.replica_client_bytes));
  if (config.maxmemory != 0 && total > config.maxmemory)
    text += fmt::format("- Limit: more is in use than maxmemory allows ({:.1f} MiB); maxmemory-policy decides what happens.\n",
                        mib(config.maxmemory));
  ctx.reply.Verbatim("txt", text.empty() ? "Memory looks healthy.\n" : text);
}

void MemoryPurge(CommandContext& ctx) {
  ctx.keyspace.ReleasePages();
  ReleaseUnusedMemory();
  ctx.reply.Ok();
}

void MemoryMallocStats(CommandContext& ctx) {
  if (malloc_stats_print == nullptr) return ctx.reply.Bulk("Stats not supported for the current allocator");
  std::string text;
  malloc_stats_print([](void* out, const char* part) { *static_cast<std::string*>(out) += part; }, &text, "");
  ctx.reply.Verbatim("txt", text);
}

void MemoryHelp(CommandContext& ctx) {
  ReplyHelp(ctx, {
                     "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                     "DOCTOR",
                     "    Whether memory looks healthy.",
                     "MALLOC-STATS",
                     "    What the allocator tells about itself.",
                     "PURGE",
                     "    Give unused pages of the allocator back to the system.",
                     "STATS",
                     "    Where the memory goes.",
                     "USAGE <key> [SAMPLES <count>]",
                     "    Bytes taken by a key and its value. Of collections <count> elements",
                     "    are measured (5 by default, 0 for all).",
                     "HELP",
                     "    This text.",
                 });
}

// ---- rows

constexpr KeySpec kLooksKey[] = {{.flags = kKeyRO, .index = 2}};
constexpr ArgSpec kOneKey[] = {{.name = "key", .type = ArgType::kKey, .key_spec = 0}};
constexpr std::string_view kObjectEncodingTips[] = {"nondeterministic_output"};
constexpr CommandRow kObjectRows[] = {
    {.name = "encoding",
     .arity = 3,
     .flags = kReadOnly,
     .acl = kAclKeyspace,
     .handler = ObjectEncoding,
     .keys = kLooksKey,
     .group = Group::kGeneric,
     .since = "2.2.3",
     .complexity = "O(1)",
     .summary = "Tells how a value is represented in memory.",
     .args = kOneKey,
     .tips = kObjectEncodingTips},
    {.name = "freq",
     .arity = 3,
     .flags = kReadOnly,
     .acl = kAclKeyspace,
     .handler = ObjectFreq,
     .keys = kLooksKey,
     .group = Group::kGeneric,
     .since = "4.0.0",
     .complexity = "O(1)",
     .summary = "Tells the logarithmic counter of how often a key is used.",
     .args = kOneKey,
     .tips = kObjectEncodingTips},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .acl = kAclKeyspace,
     .handler = ObjectHelp,
     .group = Group::kGeneric,
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "idletime",
     .arity = 3,
     .flags = kReadOnly,
     .acl = kAclKeyspace,
     .handler = ObjectIdleTime,
     .keys = kLooksKey,
     .group = Group::kGeneric,
     .since = "2.2.3",
     .complexity = "O(1)",
     .summary = "Tells how many seconds ago a key was last used.",
     .args = kOneKey,
     .tips = kObjectEncodingTips},
    {.name = "refcount",
     .arity = 3,
     .flags = kReadOnly,
     .acl = kAclKeyspace,
     .handler = ObjectRefCount,
     .keys = kLooksKey,
     .group = Group::kGeneric,
     .since = "2.2.3",
     .complexity = "O(1)",
     .summary = "Tells how often a value is referenced.",
     .args = kOneKey,
     .tips = kObjectEncodingTips},
};
constexpr std::string_view kMemoryDoctorTips[] = {"nondeterministic_output", "request_policy:all_shards",
                                                  "response_policy:special"};
constexpr std::string_view kMemoryPurgeTips[] = {"request_policy:all_shards", "response_policy:all_succeeded"};
constexpr ArgSpec kMemoryUsageArgs[] = {
    {.name = "key", .type = ArgType::kKey, .key_spec = 0},
    {.name = "count", .type = ArgType::kInteger, .flags = kOptional, .token = "SAMPLES"}};
constexpr CommandRow kMemoryRows[] = {
    {.name = "doctor",
     .arity = 2,
     .handler = MemoryDoctor,
     .group = Group::kServer,
     .since = "4.0.0",
     .complexity = "O(1)",
     .summary = "Says in a sentence whether memory looks healthy.",
     .tips = kMemoryDoctorTips},
    {.name = "help",
     .arity = 2,
     .flags = kLoading | kStale,
     .handler = MemoryHelp,
     .group = Group::kServer,
     .since = "4.0.0",
     .complexity = "O(1)",
     .summary = "Lists the subcommands."},
    {.name = "malloc-stats",
     .arity = 2,
     .handler = MemoryMallocStats,
     .group = Group::kServer,
     .since = "4.0.0",
     .complexity = "Grows with the memory in use.",
     .summary = "Shows what the allocator tells about itself.",
     .tips = kMemoryDoctorTips},
    {.name = "purge",
     .arity = 2,
     .handler = MemoryPurge,
     .group = Group::kServer,
     .since = "4.0.0",
     .complexity = "Grows with the memory in use.",
     .summary = "Asks the allocator to give unused memory back to the system.",
     .tips = kMemoryPurgeTips},
    {.name = "stats",
     .arity = 2,
     .handler = MemoryStats,
     .group = Group::kServer,
     .since = "4.0.0",
     .complexity = "O(1)",
     .summary = "Shows where the memory goes.",
     .tips = kMemoryDoctorTips},
    {.name = "usage",
     .arity = -3,
     .flags = kReadOnly,
     .handler = MemoryUsageOfKey,
     .keys = kLooksKey,
     .group = Group::kServer,
     .since = "4.0.0",
     .complexity = "O(N) for N sampled elements; O(1) for strings.",
     .summary = "Estimates the bytes a key and its value take.",
     .args = kMemoryUsageArgs},
};

constexpr CommandRow kRows[] = {
    {.name = "object",
     .arity = -2,
     .group = Group::kGeneric,
     .since = "2.2.3",
     .complexity = "Depends on the subcommand.",
     .summary = "Holds the commands that look into how a value is kept.",
     .subcommands = kObjectRows},
    {.name = "memory",
     .arity = -2,
     .group = Group::kServer,
     .since = "4.0.0",
     .complexity = "Depends on the subcommand.",
     .summary = "Holds the commands that tell about memory.",
     .subcommands = kMemoryRows},
};

}  // namespace

std::span<const CommandRow> ObjectCommands() { return kRows; }

}  // namespace tessera
