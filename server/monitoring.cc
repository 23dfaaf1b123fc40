#include "server/monitoring.h"

#include <fmt/ranges.h>

#include "server/cluster/cluster_shell.h"
#include "server/config/config.h"
#include "server/durability/durability.h"
#include "server/lifecycle.h"
#include "server/log.h"
#include "server/net/event_loop.h"
#include "server/prometheus.h"
#include "server/replication/replication.h"

namespace tessera {
namespace {

constexpr int kBacklog = 64;

constexpr std::string_view kIndex = "/metrics  figures for Prometheus\n/healthz  alive\n/readyz   ready for clients\n";

}  // namespace

std::string NotReadyReason(const Services& services) {
  if (services.lifecycle.shutting_down()) return "shutting down";
  if (services.durability.loading()) return "loading the dataset";
  if (services.replication.loading()) return "loading the primary's dataset";
  if (services.replication.is_replica() && !services.replication.primary_link_up())
    return fmt::format("not synchronised with the primary {}:{}", services.replication.primary_host(),
                       services.replication.primary_port());
  if (services.cluster != nullptr) {
    const cluster::InfoFigures cluster = services.cluster->core().Figures();
    if (!cluster.ok)
      return fmt::format("the cluster is down: {} slots assigned, {} of them served", cluster.slots_assigned,
                         cluster.slots_ok);
  }
  return {};
}

Monitoring::Monitoring(EventLoop& loop, const Services& services)
    : loop_(loop), services_(services), http_(loop, [this](std::string_view path) { return Answer(path); }) {}

std::string Monitoring::Listen() {
  const config::Config& config = services_.config;
  std::string error = http_.Listen(config.metrics_bind.empty() ? config.bind : config.metrics_bind,
                                   static_cast<uint16_t>(config.metrics_port), kBacklog);
  if (error.empty() && !http_.listening().empty())
    log::Notice("Monitoring by HTTP on {}", fmt::join(http_.listening(), ", "));
  return error;
}

HttpServer::Response Monitoring::Answer(std::string_view path) const {
  if (path == "/metrics")
    return {.content_type = std::string(kPrometheusContentType), .body = RenderPrometheus(services_, loop_.now())};
  if (path == "/healthz") return {.body = "ok\n"};
  if (path == "/readyz") {
    const std::string reason = NotReadyReason(services_);
    if (reason.empty()) return {.body = "ready\n"};
    return {.status = 503, .body = reason + "\n"};
  }
  if (path == "/") return {.body = std::string(kIndex)};
  return {.status = 404, .body = "not found\n"};
}

}  // namespace tessera
