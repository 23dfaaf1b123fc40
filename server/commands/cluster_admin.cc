// CLUSTER subcommands that change something. What a cluster allows is the core's to judge (cluster/core.h); here the
// arguments are checked, in Redis's order and words.
#include <fmt/core.h>

#include <optional>
#include <string>

#include "cluster/core.h"
#include "server/cluster/cluster_shell.h"
#include "server/commands/cluster.h"
#include "server/commands/context.h"
#include "server/commands/help.h"

namespace tessera::cluster_commands {
namespace {

using cluster::Core;
using cluster::Effects;
using protocol::EqualsIgnoreCase;
using protocol::ParseInt64;

constexpr int kBusPortOffset = 10000;
constexpr int kMaxPort = 65535;

// `command(core, now_ms, effects)` returns an error text or nothing, which is OK.
template <typename Command>
void RunAndReply(CommandContext& ctx, ClusterShell& shell, Command command) {
  // Keys that go away with it are propagated one by one; replicas and the AOF have no use for the command.
  ctx.PropagateNothing();
  const std::string error = shell.Run(command);
  if (!error.empty()) return ctx.reply.Error(error);
  // Whoever moves a slot must not let go of it at its source before the target's disk knows.
  if (shell.silenced())
    return ctx.reply.Error("ERR The change is not on disk yet: nodes.conf cannot be written. It is tried again every second");
  ctx.reply.Ok();
}

std::optional<cluster::Slot> SlotOrReply(CommandContext& ctx, std::string_view text) {
  const auto slot = ParseInt64(text);
  if (!slot || *slot < 0 || *slot >= cluster::kSlotCount) {
    ctx.reply.Error("ERR Invalid or out of range slot");
    return std::nullopt;
  }
  return static_cast<cluster::Slot>(*slot);
}

enum class Change { kAdd, kDelete };

// Collects slots for ADDSLOTS and its kin. The first slot that cannot be changed, in the order of the arguments,
// decides what the client reads.
class SlotCollector {
 public:
  SlotCollector(const Core& core, Change change) : core_(core), change_(change) {}

  // Empty or the error.
  std::string Add(int first, int last) {
    for (int i = first; i <= last; ++i) {
      const auto slot = static_cast<cluster::Slot>(i);
      const bool owned = core_.OwnerOf(slot) != nullptr;
      if (change_ == Change::kDelete && !owned) return fmt::format("ERR Slot {} is already unassigned", slot);
      if (change_ == Change::kAdd && owned) return fmt::format("ERR Slot {} is already busy", slot);
      if (slots_[slot]) return fmt::format("ERR Slot {} specified multiple times", slot);
      slots_.set(slot);
    }
    return {};
  }
  const cluster::SlotSet& slots() const { return slots_; }

 private:
  const Core& core_;
  Change change_;
  cluster::SlotSet slots_;
};

void Apply(CommandContext& ctx, ClusterShell& shell, Change change, const cluster::SlotSet& slots) {
  RunAndReply(ctx, shell, [&](Core& core, int64_t now_ms, Effects& effects) {
    return change == Change::kAdd ? core.AddSlots(now_ms, slots, effects) : core.DelSlots(now_ms, slots, effects);
  });
}

void ChangeSlots(CommandContext& ctx, ClusterShell& shell, Change change) {
  // All of them must be slots before any is looked at.
  for (std::string_view text : ctx.argv.subspan(2))
    if (!SlotOrReply(ctx, text)) return;
  SlotCollector collector(shell.core(), change);
  for (std::string_view text : ctx.argv.subspan(2)) {
    const int slot = static_cast<int>(*ParseInt64(text));
    if (std::string error = collector.Add(slot, slot); !error.empty()) return ctx.reply.Error(error);
  }
  Apply(ctx, shell, change, collector.slots());
}

void ChangeSlotRanges(CommandContext& ctx, ClusterShell& shell, Change change) {
  if (ctx.argv.size() % 2 != 0)
    return ctx.reply.Error(fmt::format("ERR wrong number of arguments for 'cluster|{}' command", ctx.row.name));
  SlotCollector collector(shell.core(), change);
  for (size_t i = 2; i < ctx.argv.size(); i += 2) {
    const auto first = SlotOrReply(ctx, ctx.argv[i]);
    if (!first) return;
    const auto last = SlotOrReply(ctx, ctx.argv[i + 1]);
    if (!last) return;
    if (*first > *last)
      return ctx.reply.Error(fmt::format("ERR start slot number {} is greater than end slot number {}", *first, *last));
    if (std::string error = collector.Add(*first, *last); !error.empty()) return ctx.reply.Error(error);
  }
  Apply(ctx, shell, change, collector.slots());
}

bool DatasetEmpty(CommandContext& ctx) { return ctx.keyspace.db(0).size() == 0; }

}  // namespace

void Meet(CommandContext& ctx, ClusterShell& shell) {
  if (ctx.argv.size() > 5) return RefuseSubcommandSyntax(ctx);
  const auto port = ParseInt64(ctx.argv[3]);
  if (!port) return ctx.reply.Error(fmt::format("ERR Invalid TCP base port specified: {}", ctx.argv[3]));
  std::optional<int64_t> bus_port;
  if (ctx.argv.size() == 5) {
    bus_port = ParseInt64(ctx.argv[4]);
    if (!bus_port) return ctx.reply.Error(fmt::format("ERR Invalid TCP bus port specified: {}", ctx.argv[4]));
  }
  auto fits = [](int64_t p) { return p > 0 && p <= kMaxPort; };
  if (!fits(*port) || (bus_port && !fits(*bus_port)))
    return ctx.reply.Error(fmt::format("ERR Invalid node address specified: {}:{}", ctx.argv[2], ctx.argv[3]));
  RunAndReply(ctx, shell, [&](Core& core, int64_t now_ms, Effects& effects) {
    return core.Meet(now_ms, ctx.argv[2], static_cast<int>(*port),
                     static_cast<int>(bus_port.value_or(*port + kBusPortOffset)), effects);
  });
}

void Forget(CommandContext& ctx, ClusterShell& shell) {
  RunAndReply(ctx, shell,
              [&](Core& core, int64_t now_ms, Effects& effects) { return core.Forget(now_ms, ctx.argv[2], effects); });
}

void Replicate(CommandContext& ctx, ClusterShell& shell) {
  RunAndReply(ctx, shell, [&](Core& core, int64_t now_ms, Effects& effects) {
    return core.Replicate(now_ms, ctx.argv[2], DatasetEmpty(ctx), effects);
  });
}

void Failover(CommandContext& ctx, ClusterShell& shell) {
  if (ctx.argv.size() > 3) return RefuseSubcommandSyntax(ctx);
  auto mode = cluster::FailoverMode::kPlain;
  if (ctx.argv.size() == 3) {
    if (EqualsIgnoreCase(ctx.argv[2], "force")) {
      mode = cluster::FailoverMode::kForce;
    } else if (EqualsIgnoreCase(ctx.argv[2], "takeover")) {
      mode = cluster::FailoverMode::kTakeover;
    } else {
      return ctx.reply.Error(kSyntaxError);
    }
  }
  RunAndReply(ctx, shell,
              [&](Core& core, int64_t now_ms, Effects& effects) { return core.Failover(now_ms, mode, effects); });
}

void Reset(CommandContext& ctx, ClusterShell& shell) {
  if (ctx.argv.size() > 3) return RefuseSubcommandSyntax(ctx);
  auto mode = cluster::ResetMode::kSoft;
  if (ctx.argv.size() == 3) {
    if (EqualsIgnoreCase(ctx.argv[2], "hard")) {
      mode = cluster::ResetMode::kHard;
    } else if (!EqualsIgnoreCase(ctx.argv[2], "soft")) {
      return ctx.reply.Error(kSyntaxError);
    }
  }
  RunAndReply(ctx, shell, [&](Core& core, int64_t now_ms, Effects& effects) {
    return core.Reset(now_ms, mode, DatasetEmpty(ctx), effects);
  });
}

void SetConfigEpoch(CommandContext& ctx, ClusterShell& shell) {
  const auto epoch = ParseInt64(ctx.argv[2]);
  if (!epoch) return ctx.reply.Error(kNotAnInteger);
  if (*epoch < 0) return ctx.reply.Error(fmt::format("ERR Invalid config epoch specified: {}", *epoch));
  RunAndReply(ctx, shell, [&](Core& core, int64_t now_ms, Effects& effects) {
    return core.SetConfigEpoch(now_ms, static_cast<cluster::Epoch>(*epoch), effects);
  });
}

void BumpEpoch(CommandContext& ctx, ClusterShell& shell) {
  std::string reply;
  const std::string error =
      shell.Run([&](Core& core, int64_t now_ms, Effects& effects) { return core.BumpEpoch(now_ms, reply, effects); });
  if (!error.empty()) return ctx.reply.Error(error);
  ctx.reply.SimpleString(reply);
}

void SaveConfig(CommandContext& ctx, ClusterShell& shell) {
  const std::string error = shell.SaveNow();
  if (!error.empty()) return ctx.reply.Error(error);
  ctx.reply.Ok();
}

void AddSlots(CommandContext& ctx, ClusterShell& shell) { ChangeSlots(ctx, shell, Change::kAdd); }
void AddSlotsRange(CommandContext& ctx, ClusterShell& shell) { ChangeSlotRanges(ctx, shell, Change::kAdd); }
void DelSlots(CommandContext& ctx, ClusterShell& shell) { ChangeSlots(ctx, shell, Change::kDelete); }
void DelSlotsRange(CommandContext& ctx, ClusterShell& shell) { ChangeSlotRanges(ctx, shell, Change::kDelete); }

void FlushSlots(CommandContext& ctx, ClusterShell& shell) {
  RunAndReply(ctx, shell, [&](Core& core, int64_t now_ms, Effects& effects) {
    return core.FlushSlots(now_ms, DatasetEmpty(ctx), effects);
  });
}

void SetSlot(CommandContext& ctx, ClusterShell& shell) {
  // Asked before the slot is even read, as Redis does.
  if (shell.core().me().is(cluster::kReplica)) return ctx.reply.Error("ERR Please use SETSLOT only with masters.");
  const auto slot = SlotOrReply(ctx, ctx.argv[2]);
  if (!slot) return;
  const std::string_view action = ctx.argv[3];
  const std::string_view id = ctx.argv.size() == 5 ? ctx.argv[4] : std::string_view();
  const bool with_node = ctx.argv.size() == 5;
  if (with_node && EqualsIgnoreCase(action, "migrating"))
    return RunAndReply(ctx, shell, [&](Core& core, int64_t now_ms, Effects& effects) {
      return core.SetSlotMigrating(now_ms, *slot, id, effects);
    });
  if (with_node && EqualsIgnoreCase(action, "importing"))
    return RunAndReply(ctx, shell, [&](Core& core, int64_t now_ms, Effects& effects) {
      return core.SetSlotImporting(now_ms, *slot, id, effects);
    });
  if (with_node && EqualsIgnoreCase(action, "node"))
    return RunAndReply(ctx, shell, [&](Core& core, int64_t now_ms, Effects& effects) {
      return core.SetSlotNode(now_ms, *slot, id, ctx.keyspace.db(0).CountInSlot(*slot), effects);
    });
  if (ctx.argv.size() == 4 && EqualsIgnoreCase(action, "stable"))
    return RunAndReply(ctx, shell, [&](Core& core, int64_t now_ms, Effects& effects) {
      return core.SetSlotStable(now_ms, *slot, effects);
    });
  ctx.reply.Error("ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP");
}

}  // namespace tessera::cluster_commands
