// nodes.conf on a disk that is slow, full, fails to sync, or loses its power in the middle. The order of things is the
// server's (server/cluster/cluster_shell.h): a durable save blocks the process, others are done by a helper thread; a node
// whose durable save failed sends nothing until a retry succeeds, and serves its clients meanwhile.
#include "tests/sim/world.h"

namespace tessera::sim {
namespace {

constexpr Millis kRetryMs = 1000;

}  // namespace

void World::SetDisk(int node, bool full, bool sync_fails, Millis slow_ms) {
  Disk& d = servers_[node].disk;
  d.full = full;
  d.sync_fails = sync_fails;
  d.slow_ms = slow_ms;
  Trace(node, full ? "disk is full" : sync_fails ? "syncs fail" : slow_ms > 0 ? "disk is slow" : "disk is well");
}

// One replacement of nodes.conf as a whole; false = failed, and said so.
bool World::WriteOut(int node, const std::string& text) {
  Disk& d = servers_[node].disk;
  if (d.full) {
    Count("saves that found the disk full");
    return false;
  }
  if (d.sync_fails || random_.Chance(config_.save_failure)) {
    const bool renamed = random_.Chance(0.5);
    if (renamed) d.written = text;
    Count(renamed ? "saves whose directory sync failed" : "saves whose file sync failed");
    return false;
  }
  d.written = d.durable = text;
  checker_.OnSaved(node);
  return true;
}

void World::SaveEnded(int node, bool ok) {
  Disk& d = servers_[node].disk;
  d.last_try_ms = now();
  if (ok && d.failing) Trace(node, "could save again");
  d.failing = !ok;
}

// True = the power failed at one of the steps.
bool World::LosePowerDuringSave(int node, const std::string& text) {
  if (!random_.Chance(config_.effect_crash)) return false;
  switch (random_.Below(4)) {
    case 0:
      Count("power lost before a save");
      break;
    case 1:
      Count("power lost while nodes.conf was written");  // into a temporary file, which nobody reads
      break;
    case 2:
      Count("power lost before the rename of nodes.conf was synced");
      if (random_.Chance(0.5)) servers_[node].disk.durable = text;
      break;
    default:
      Count("power lost after a save");
      servers_[node].disk.durable = text;
      break;
  }
  Crash(node, Death::kPower);
  return true;
}

bool World::SaveDurably(int node) {
  Server& s = servers_[node];
  Disk& d = s.disk;
  if (d.saving) {  // an older state must not land on top of this one
    ++d.save_number;
    d.saving = false;
    WriteOut(node, d.in_flight);
  }
  d.save_wanted = false;
  std::string text = s.core->StateText();
  d.in_flight = text;
  Mix(text.size());
  if (LosePowerDuringSave(node, text)) return false;
  if (d.slow_ms > 0) {
    Millis takes = random_.Between(1, d.slow_ms);
    Count("slow saves");
    s.busy_until_ms = now() + takes + 1;
    EndSlowSaveLater(node, std::move(text));
    return true;
  }
  const bool ok = WriteOut(node, text);
  d.in_flight.clear();
  SaveEnded(node, ok);
  if (!ok && !d.silenced) Count("nodes silenced by their disk");
  d.silenced = !ok;
  return ok;
}

void World::EndSlowSaveLater(int node, std::string text) {
  // Just before: what else happens in that instant must find it busy still.
  scheduler_.At(servers_[node].busy_until_ms - 1, [this, node, life = servers_[node].life, text = std::move(text)] {
    if (servers_[node].life == life) EndSlowSave(node, text);
  });
}

// The process goes on; events that came meanwhile are waiting.
void World::EndSlowSave(int node, const std::string& text) {
  Server& s = servers_[node];
  const uint32_t life = s.life;
  if (s.paused) {
    s.busy_until_ms = now() + 50;
    return EndSlowSaveLater(node, text);
  }
  s.busy_until_ms = 0;
  s.undisturbed_since_ms = now();
  checker_.RestartWaiting();
  const bool ok = WriteOut(node, text);
  s.disk.in_flight.clear();
  SaveEnded(node, ok);
  if (!ok && !s.disk.silenced) Count("nodes silenced by their disk");
  s.disk.silenced = !ok;
  if (!ok) s.queued.push_front(cluster::SaveState{true});
  CarryOutQueued(node);
  if (s.life == life && !s.paused) network_.Pump(node);
}

void World::SaveInBackground(int node) {
  Server& s = servers_[node];
  Disk& d = s.disk;
  d.save_wanted = true;
  if (d.saving) return;
  d.saving = true;
  d.save_wanted = false;
  d.in_flight = s.core->StateText();
  Mix(d.in_flight.size());
  Millis takes = d.slow_ms > 0 ? random_.Between(1, d.slow_ms) : random_.Below(random_.Chance(0.2) ? 2000 : 10);
  scheduler_.After(takes, [this, node, life = s.life, number = ++d.save_number] {
    const Server& server = servers_[node];
    if (server.life == life && server.disk.save_number == number) EndBackgroundSave(node);
  });
}

void World::EndBackgroundSave(int node) {
  Disk& d = servers_[node].disk;
  d.saving = false;
  std::string text = std::move(d.in_flight);
  d.in_flight.clear();
  const bool ok = WriteOut(node, text);
  if (d.silenced) return;
  SaveEnded(node, ok);
  if (d.save_wanted && ok) SaveInBackground(node);
}

void World::RetrySave(int node) {
  const Disk& d = servers_[node].disk;
  if ((!d.failing && !d.silenced) || now() - d.last_try_ms < kRetryMs) return;
  d.silenced ? CarryOutQueued(node) : SaveInBackground(node);
}

// What is left of nodes.conf when the process or the power goes.
void World::DiskDies(int node, Death death) {
  Disk& d = servers_[node].disk;
  if (!d.in_flight.empty() && !d.full && random_.Chance(0.5)) {
    Count("deaths in the middle of a save");
    d.written = d.in_flight;
    if (death == Death::kPower && random_.Chance(0.5)) d.durable = d.in_flight;
  }
  if (death == Death::kPower)
    d.written = d.durable;
  else
    d.durable = d.written;  // the page cache outlives the process
  d.in_flight.clear();
  d.saving = d.save_wanted = d.failing = d.silenced = false;
}

// ---- effects ----

void World::CarryOut(int node, Effects effects) {
  Server& s = servers_[node];
  const uint32_t life = s.life;
  for (cluster::Effect& effect : effects) {
    Mix(effect.index());
    if (s.disk.silenced && CarryOutSilenced(node, effect)) continue;
    s.queued.push_back(std::move(effect));
  }
  if (s.life == life) CarryOutQueued(node);
}

void World::CarryOutQueued(int node) {
  Server& s = servers_[node];
  const uint32_t life = s.life;
  if (s.disk.silenced && now() - s.disk.last_try_ms < kRetryMs) return;
  while (s.life == life && s.core && !s.queued.empty() && !Busy(node)) {
    cluster::Effect effect = std::move(s.queued.front());
    s.queued.pop_front();
    const auto* save = std::get_if<cluster::SaveState>(&effect);
    if (save == nullptr || !save->must_sync) {
      CarryOutOne(node, effect);
    } else if (!SaveDurably(node)) {
      if (s.life == life) s.queued.push_front(std::move(effect));
      return;
    } else if (dies_after_save_ == node) {
      Count("takers killed before they told of a slot");
      return Crash(node, Death::kProcess);
    }
  }
}

bool World::CarryOutSilenced(int node, cluster::Effect& effect) {
  if (std::holds_alternative<cluster::Send>(effect)) {
    Count("messages withheld by a silenced node");
    return true;
  }
  if (std::holds_alternative<cluster::SaveState>(effect)) return true;
  if (std::holds_alternative<cluster::StopFollowing>(effect) &&
      std::erase_if(servers_[node].queued, [](const cluster::Effect& older) {
        return std::holds_alternative<cluster::FollowPrimary>(older);
      }) > 0)
    Count("orders to follow overtaken by a promotion");
  if (std::holds_alternative<cluster::OpenLink>(effect) || std::holds_alternative<cluster::CloseLink>(effect) ||
      std::holds_alternative<cluster::StopFollowing>(effect) || std::holds_alternative<cluster::Note>(effect)) {
    CarryOutOne(node, effect);
    return true;
  }
  return false;
}

}  // namespace tessera::sim
