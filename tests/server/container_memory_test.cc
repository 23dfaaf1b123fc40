#include "server/container_memory.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace tessera {
namespace {

using Tree = std::map<std::string, std::string>;

ContainerMemory Find(const Tree& tree) {
  return FindContainerMemory([&tree](const std::string& path) -> std::optional<std::string> {
    const auto it = tree.find(path);
    if (it == tree.end()) return std::nullopt;
    return it->second;
  });
}

constexpr char kV2Mount[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr char kV1Mount[] =
    "25 20 0:21 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    "33 25 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:14 - cgroup cgroup rw,memory\n"
    "34 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
constexpr char kUnlimited[] = "9223372036854771712\n";

TEST(ContainerMemory, IsUnlimitedWithoutControlGroups) {
  EXPECT_EQ(Find({}).limit_bytes, 0u);
  EXPECT_EQ(Find({{"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", kV2Mount}}).limit_bytes, 0u);
}

TEST(ContainerMemory, ReadsVersion2InItsOwnNamespace) {
  const auto found = Find({{"/proc/self/cgroup", "0::/\n"},
                           {"/proc/self/mountinfo", kV2Mount},
                           {"/sys/fs/cgroup/memory.max", "536870912\n"}});
  EXPECT_EQ(found.limit_bytes, 536870912u);
  EXPECT_EQ(found.version, 2);
  EXPECT_EQ(found.source, "/sys/fs/cgroup/memory.max");
}

TEST(ContainerMemory, TakesTheSmallestLimitOfNestedGroups) {
  Tree tree{{"/proc/self/cgroup", "0::/kubepods.slice/pod1.slice/c1.scope\n"},
            {"/proc/self/mountinfo", kV2Mount},
            {"/sys/fs/cgroup/kubepods.slice/memory.max", "max\n"},
            {"/sys/fs/cgroup/kubepods.slice/pod1.slice/memory.max", "1000000\n"},
            {"/sys/fs/cgroup/kubepods.slice/pod1.slice/c1.scope/memory.max", "max\n"}};
  EXPECT_EQ(Find(tree).limit_bytes, 1000000u);
  tree["/sys/fs/cgroup/kubepods.slice/pod1.slice/c1.scope/memory.max"] = "999999\n";
  EXPECT_EQ(Find(tree).limit_bytes, 999999u);
  tree["/sys/fs/cgroup/kubepods.slice/memory.max"] = "5\n";
  EXPECT_EQ(Find(tree).source, "/sys/fs/cgroup/kubepods.slice/memory.max");
}

TEST(ContainerMemory, ReadsVersion1OnTheHost) {
  Tree tree{{"/proc/self/cgroup", "12:cpu,cpuacct:/a\n5:memory:/docker/abc\n1:name=systemd:/x\n"},
            {"/proc/self/mountinfo", kV1Mount},
            {"/sys/fs/cgroup/memory/memory.limit_in_bytes", kUnlimited},
            {"/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "300000000\n"}};
  EXPECT_EQ(Find(tree).limit_bytes, 300000000u);
  EXPECT_EQ(Find(tree).version, 1);
  tree["/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes"] = kUnlimited;
  EXPECT_EQ(Find(tree).limit_bytes, 0u);
}

TEST(ContainerMemory, ReadsVersion1FromWithinAContainer) {
  // The container's group is bind-mounted at the usual place; /proc tells the host's path.
  const auto found =
      Find({{"/proc/self/cgroup", "5:memory:/docker/abc\n"},
            {"/proc/self/mountinfo",
             "33 25 0:29 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:14 - cgroup cgroup rw,memory\n"},
            {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "200000000\n"}});
  EXPECT_EQ(found.limit_bytes, 200000000u);
}

TEST(ContainerMemory, SeesLimitsOfGroupsAboveTheContainer) {
  const auto found =
      Find({{"/proc/self/cgroup", "5:memory:/\n"},
            {"/proc/self/mountinfo", kV1Mount},
            {"/sys/fs/cgroup/memory/memory.limit_in_bytes", kUnlimited},
            {"/sys/fs/cgroup/memory/memory.stat", "cache 1\nhierarchical_memory_limit 77000000\nrss 3\n"}});
  EXPECT_EQ(found.limit_bytes, 77000000u);
  EXPECT_EQ(found.source, "/sys/fs/cgroup/memory/memory.stat");
}

TEST(ContainerMemory, UsesTheMountWhenThePathLiesOutside) {
  for (const char* path : {"/../../elsewhere", "/host/path/we/do/not/see"}) {
    const auto found = Find({{"/proc/self/cgroup", std::string("0::") + path + "\n"},
                             {"/proc/self/mountinfo", kV2Mount},
                             {"/sys/fs/cgroup/memory.max", "4096000\n"}});
    EXPECT_EQ(found.limit_bytes, 4096000u) << path;
  }
}

TEST(ContainerMemory, ReadsAHybridOfBothVersions) {
  // The unified hierarchy is there without the memory controller.
  Tree tree{{"/proc/self/cgroup", "4:memory:/limited\n0::/\n"},
            {"/proc/self/mountinfo",
             std::string(kV1Mount) + "42 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"},
            {"/sys/fs/cgroup/memory/limited/memory.limit_in_bytes", "536870912\n"}};
  EXPECT_EQ(Find(tree).limit_bytes, 536870912u);
  EXPECT_EQ(Find(tree).version, 1);
  tree["/sys/fs/cgroup/unified/memory.max"] = "100\n";
  EXPECT_EQ(Find(tree).version, 2);
}

TEST(ContainerMemory, ReadsEscapedMountPoints) {
  const auto found = Find({{"/proc/self/cgroup", "0::/\n"},
                           {"/proc/self/mountinfo", "30 23 0:26 / /my\\040groups rw - cgroup2 none rw\n"},
                           {"/my groups/memory.max", "12345\n"}});
  EXPECT_EQ(found.limit_bytes, 12345u);
}

TEST(ContainerMemory, UsesTheUsualPlacesWithoutMountinfo) {
  EXPECT_EQ(Find({{"/sys/fs/cgroup/memory.max", "777\n"}}).limit_bytes, 777u);
  EXPECT_EQ(Find({{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "778\n"}}).limit_bytes, 778u);
}

TEST(ContainerMemory, SurvivesNonsense) {
  std::mt19937 random(7);
  const std::string alphabet = "/:. -\n\\0159,amcgroup2";
  for (int round = 0; round < 20000; ++round) {
    auto text = [&] {
      std::string out;
      for (size_t i = random() % 80; i > 0; --i) out += alphabet[random() % alphabet.size()];
      return out;
    };
    const std::string mounts = random() % 2 ? text() : std::string("1 1 0:1 ") + text() + " - cgroup2 x memory\n";
    FindContainerMemory([&](const std::string& path) -> std::optional<std::string> {
      if (path == "/proc/self/cgroup") return "0::" + text();
      if (path == "/proc/self/mountinfo") return mounts;
      return text();
    });
  }
}

TEST(ContainerMemory, IsAtMostTheMachines) {
  EXPECT_EQ(UsableMemory({}, 100), 100u);
  EXPECT_EQ(UsableMemory({.limit_bytes = 50}, 100), 50u);
  EXPECT_EQ(UsableMemory({.limit_bytes = 500}, 100), 100u);
  EXPECT_EQ(UsableMemory({.limit_bytes = 500}, 0), 500u);
}

}  // namespace
}  // namespace tessera
