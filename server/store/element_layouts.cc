// How each use of an element tree lays its elements out: values per element, and how large leaves grow. A leaf is searched
// from its beginning, so it is short where single elements are looked up, and long where whole ranges are read.
#include "server/store/element_tree.h"
#include "server/store/sorted_set_object.h"
#include "server/store/stream_object.h"

namespace tessera::store {
namespace {

uint64_t Integer(const uint8_t* element) { return static_cast<uint64_t>(Unpack(element).integer); }
uint64_t FirstByte(const uint8_t* element) { return static_cast<uint8_t>(Unpack(element).text[0]); }

}  // namespace

// clang-format off
const ElementTree::Layout ElementTree::kLayouts[] = {
    // order         values                       leaf: bytes at most           elements, key
    {Order::kRank,   1 /* value */,               1024 - kLeafHeaderBytes, 128, nullptr},                // kList
    {Order::kHash,   1 /* member */,              1024 - kLeafHeaderBytes,  32, nullptr},                // kSet
    {Order::kHash,   2 /* field, value */,        1024 - kLeafHeaderBytes,  64, nullptr},                // kHash
    {Order::kHash,   2 /* field, time */,         1024,                     64, nullptr},                // kFieldExpiriesByField
    {Order::kSorted, 2 /* time, field */,         1024,                     64, Integer},                // kFieldExpiriesByTime
    {Order::kSorted, 2 /* score, member */,       1024 - kLeafHeaderBytes,  64, SortedSet::SortedKey},   // kSortedSet
    {Order::kHash,   3 /* hash, score, locator */, 1024 - kLeafHeaderBytes, 32, SortedSet::IndexKey},    // kSortedSetIndex
    {Order::kSorted, 1 /* block of entries */,    4096,                      1, Stream::FirstMs},        // kStream
    {Order::kSorted, 5 /* ms, sequence, consumer, time, deliveries */, 512, 128, Integer},               // kStreamGroup
    {Order::kSorted, 2 /* ms, sequence */,         384,                    128, Integer},                // kStreamConsumer
    {Order::kRank,   1,                             64,                     12, nullptr},                // kTestSequence
    {Order::kHash,   2,                            128,                     16, nullptr},                // kTestMap
    {Order::kSorted, 1,                             64,                     12, FirstByte},              // kTestSorted
};
// clang-format on

}  // namespace tessera::store
