// The parts of INFO whose number of lines varies: one per listener, replica, command, kind of error, database.
// Each function appends "name:value\r\n" lines.
#pragma once

#include <string>

namespace tessera {

struct MetricSources;
void ReplicaLines(const MetricSources& sources, std::string& out);
void CommandLines(const MetricSources& sources, std::string& out);
void ErrorLines(const MetricSources& sources, std::string& out);
void LatencyLines(const MetricSources& sources, std::string& out);
void KeyspaceLines(const MetricSources& sources, std::string& out);

}  // namespace tessera
