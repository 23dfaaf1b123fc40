// Places on the earth as the numbers that GEO commands keep as scores: longitude and latitude in 26 bits each, their
// bits interleaved, so that cells of a grid are ranges of numbers. The grid, the radius of the earth and the way in
// which a search picks its cells are Redis's, because scores and the order of results follow from them.
//
// Degrees and metres throughout. Pure.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tessera {

struct GeoPoint {
  double longitude = 0, latitude = 0;
};

inline constexpr double kLongitudeMax = 180;
// Where the Mercator projection is cut to a square.
inline constexpr double kLatitudeMax = 85.05112878;

bool IsOnGrid(const GeoPoint& point);
// IsOnGrid(point); 52 bits.
uint64_t EncodePoint(const GeoPoint& point);
// The middle of the finest cell. Any score: those that no point has lead somewhere, too.
GeoPoint DecodeScore(double score);

// On a sphere (haversine).
double DistanceMeters(const GeoPoint& a, const GeoPoint& b);

// The usual geohash of 11 letters; its last is always '0'. `out` has room for kGeohashChars.
inline constexpr size_t kGeohashChars = 11;
void WriteGeohash(const GeoPoint& point, char* out);

// A circle, or a box along the meridians, around a point.
struct GeoShape {
  enum class Kind : uint8_t { kCircle, kBox } kind = Kind::kCircle;
  GeoPoint center;
  double radius_meters = 0;
  double width_meters = 0, height_meters = 0;

  // Whether the point lies within; its distance from the centre is then in `distance_meters`.
  bool Contains(const GeoPoint& point, double& distance_meters) const;
};

// Scores from `first` up to, not including, `end`.
struct ScoreSpan {
  uint64_t first, end;
};
// Where the points of a shape can be, in the order in which they are told: the cell of the centre first. Cells do not
// overlap.
std::vector<ScoreSpan> CoverShape(const GeoShape& shape);

}  // namespace tessera
