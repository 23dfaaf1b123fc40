#include "server/geohash.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tessera {
namespace {

constexpr double kEarthRadiusMeters = 6372797.560856;
// By so much may two ways to the same distance differ.
constexpr double kRoundingMeters = 1;
constexpr double kMercatorMaxMeters = 20037726.37;
constexpr int kStepsMax = 26;

double Radians(double degrees) { return degrees * (std::numbers::pi / 180); }
double Degrees(double radians) { return radians / (std::numbers::pi / 180); }

// Bit i goes to bit 2i.
uint64_t Spread(uint32_t value) {
  uint64_t bits = value;
  bits = (bits | bits << 16) & 0x0000ffff0000ffff;
  bits = (bits | bits << 8) & 0x00ff00ff00ff00ff;
  bits = (bits | bits << 4) & 0x0f0f0f0f0f0f0f0f;
  bits = (bits | bits << 2) & 0x3333333333333333;
  return (bits | bits << 1) & 0x5555555555555555;
}

uint32_t Gather(uint64_t bits) {
  bits &= 0x5555555555555555;
  bits = (bits | bits >> 1) & 0x3333333333333333;
  bits = (bits | bits >> 2) & 0x0f0f0f0f0f0f0f0f;
  bits = (bits | bits >> 4) & 0x00ff00ff00ff00ff;
  bits = (bits | bits >> 8) & 0x0000ffff0000ffff;
  return static_cast<uint32_t>(bits | bits >> 16);
}

// A cell of the grid of 2^steps by 2^steps cells: x counts eastwards, y northwards.
struct Cell {
  uint32_t x, y;
  int steps;

  bool operator==(const Cell&) const = default;
  uint64_t bits() const { return Spread(y) | Spread(x) << 1; }
  // The grid has no edges: beyond one end lies the other. The very last meridian and parallel are cells of their own
  // where nothing moves.
  Cell Moved(int dx, int dy) const {
    const uint32_t mask = (uint32_t{1} << steps) - 1;
    return {dx == 0 ? x : (x + static_cast<uint32_t>(dx)) & mask, dy == 0 ? y : (y + static_cast<uint32_t>(dy)) & mask,
            steps};
  }
};

uint32_t Index(double value, double max, int steps) {
  return static_cast<uint32_t>((value + max) / (2 * max) * static_cast<double>(uint64_t{1} << steps));
}

Cell CellOf(const GeoPoint& point, int steps, double latitude_max = kLatitudeMax) {
  return {Index(point.longitude, kLongitudeMax, steps), Index(point.latitude, latitude_max, steps), steps};
}

struct Bounds {
  double west, south, east, north;
};

double Edge(uint64_t index, double max, int steps) {
  return -max + static_cast<double>(index) * 1.0 / static_cast<double>(uint64_t{1} << steps) * (2 * max);
}

Bounds BoundsOf(const Cell& cell) {
  return {.west = Edge(cell.x, kLongitudeMax, cell.steps),
          .south = Edge(cell.y, kLatitudeMax, cell.steps),
          .east = Edge(uint64_t{cell.x} + 1, kLongitudeMax, cell.steps),
          .north = Edge(uint64_t{cell.y} + 1, kLatitudeMax, cell.steps)};
}

double LatitudeDistance(double a, double b) { return kEarthRadiusMeters * std::fabs(Radians(b) - Radians(a)); }

// About the shape; too narrow towards the pole of the other hemisphere, which does not matter.
Bounds BoundsOf(const GeoShape& shape) {
  const bool circle = shape.kind == GeoShape::Kind::kCircle;
  const double height = circle ? shape.radius_meters : shape.height_meters / 2;
  const double width = circle ? shape.radius_meters : shape.width_meters / 2;
  const auto [longitude, latitude] = shape.center;
  const double latitude_delta = Degrees(height / kEarthRadiusMeters);
  // Meridians converge, so the side nearer to the pole spans more of them.
  const double outer = latitude < 0 ? latitude - latitude_delta : latitude + latitude_delta;
  const double longitude_delta = Degrees(width / kEarthRadiusMeters / std::cos(Radians(outer)));
  return {.west = longitude - longitude_delta,
          .south = latitude - latitude_delta,
          .east = longitude + longitude_delta,
          .north = latitude + latitude_delta};
}

// The finest grid of which nine cells cover such a radius, nearly always.
int EstimateSteps(double radius_meters, double latitude) {
  if (radius_meters == 0) return kStepsMax;
  int steps = -1;
  for (; radius_meters < kMercatorMaxMeters; radius_meters *= 2) ++steps;
  if (std::fabs(latitude) > 66) --steps;
  if (std::fabs(latitude) > 80) --steps;
  return std::clamp(steps, 1, kStepsMax);
}

// What the processor makes of a conversion that the language leaves open.
uint64_t ScoreBits(double score) {
  constexpr double kHalf = 9223372036854775808.0;
  const auto convert = [](double value) {
    if (std::isnan(value) || value >= kHalf || value < -kHalf) return uint64_t{1} << 63;
    return static_cast<uint64_t>(static_cast<int64_t>(value));
  };
  return score >= kHalf ? convert(score - kHalf) ^ uint64_t { 1 } << 63 : convert(score);
}

}  // namespace

bool IsOnGrid(const GeoPoint& point) {
  return point.longitude >= -kLongitudeMax && point.longitude <= kLongitudeMax && point.latitude >= -kLatitudeMax &&
         point.latitude <= kLatitudeMax;
}

uint64_t EncodePoint(const GeoPoint& point) { return CellOf(point, kStepsMax).bits(); }

GeoPoint DecodeScore(double score) {
  const uint64_t bits = ScoreBits(score);
  const Bounds bounds = BoundsOf(Cell{Gather(bits >> 1), Gather(bits), kStepsMax});
  return {.longitude = std::clamp((bounds.west + bounds.east) / 2, -kLongitudeMax, kLongitudeMax),
          .latitude = std::clamp((bounds.south + bounds.north) / 2, -kLatitudeMax, kLatitudeMax)};
}

double DistanceMeters(const GeoPoint& a, const GeoPoint& b) {
  const double v = std::sin((Radians(b.longitude) - Radians(a.longitude)) / 2);
  if (v == 0) return LatitudeDistance(a.latitude, b.latitude);
  const double latitude_a = Radians(a.latitude), latitude_b = Radians(b.latitude);
  const double u = std::sin((latitude_b - latitude_a) / 2);
  return 2.0 * kEarthRadiusMeters * std::asin(std::sqrt(u * u + std::cos(latitude_a) * std::cos(latitude_b) * v * v));
}

void WriteGeohash(const GeoPoint& point, char* out) {
  constexpr std::string_view kAlphabet = "0123456789bcdefghjkmnpqrstuvwxyz";
  const uint64_t bits = CellOf(point, kStepsMax, 90).bits();
  for (int i = 0; i < 10; ++i) out[i] = kAlphabet[bits >> (52 - (i + 1) * 5) & 0x1f];
  out[10] = '0';  // would need three bits more
}

bool GeoShape::Contains(const GeoPoint& point, double& distance_meters) const {
  if (kind == Kind::kBox) {
    if (LatitudeDistance(point.latitude, center.latitude) > height_meters / 2) return false;
    const GeoPoint beside{.longitude = center.longitude, .latitude = point.latitude};
    if (DistanceMeters(point, beside) > width_meters / 2) return false;
  } else if (LatitudeDistance(point.latitude, center.latitude) > radius_meters + kRoundingMeters) {
    return false;  // needs no sines
  }
  distance_meters = DistanceMeters(center, point);
  return kind == Kind::kBox || distance_meters <= radius_meters;
}

std::vector<ScoreSpan> CoverShape(const GeoShape& shape) {
  const Bounds wanted = BoundsOf(shape);
  const double radius = shape.kind == GeoShape::Kind::kCircle
                            ? shape.radius_meters
                            : std::sqrt(shape.width_meters / 2 * (shape.width_meters / 2) +
                                        shape.height_meters / 2 * (shape.height_meters / 2));
  int steps = EstimateSteps(radius, shape.center.latitude);
  Cell center = CellOf(shape.center, steps);
  const bool too_fine =
      BoundsOf(center.Moved(0, 1)).north < wanted.north || BoundsOf(center.Moved(0, -1)).south > wanted.south ||
      BoundsOf(center.Moved(1, 0)).east < wanted.east || BoundsOf(center.Moved(-1, 0)).west > wanted.west;
  if (steps > 1 && too_fine) center = CellOf(shape.center, --steps);

  // Neighbours on a side where the middle cell already goes beyond the shape are of no use.
  const Bounds middle = BoundsOf(center);
  const bool prune = steps >= 2;
  const bool south = !prune || middle.south >= wanted.south, north = !prune || middle.north <= wanted.north;
  const bool west = !prune || middle.west >= wanted.west, east = !prune || middle.east <= wanted.east;
  struct Neighbour {
    int dx, dy;
    bool used;
  };
  const Neighbour neighbours[] = {{0, 0, true},           {0, 1, north},          {0, -1, south},
                                  {1, 0, east},           {-1, 0, west},          {1, 1, north && east},
                                  {-1, 1, north && west}, {1, -1, south && east}, {-1, -1, south && west}};
  std::vector<ScoreSpan> spans;
  std::vector<Cell> seen;
  for (const auto& [dx, dy, used] : neighbours) {
    const Cell cell = center.Moved(dx, dy);
    // Of the coarsest grid, opposite neighbours are the same cell.
    if (!used || std::find(seen.begin(), seen.end(), cell) != seen.end()) continue;
    seen.push_back(cell);
    const int shift = 2 * (kStepsMax - steps);
    spans.push_back({cell.bits() << shift, (cell.bits() + 1) << shift});
  }
  return spans;
}

}  // namespace tessera
