// RESP as clients send it and as other servers answer it: read whole and in pieces it means the same, what was read survives
// being written, and what has not arrived whole is kept only as far as the limits allow.
#include <algorithm>
#include <cstdlib>

#include "protocol/resp_parser.h"
#include "protocol/resp_reply.h"
#include "tests/fuzz/fuzz.h"

using namespace tessera::protocol;

namespace {

using Words = std::vector<std::string>;
using Status = ParseResult::Status;

struct Requests {
  std::vector<Words> commands;
  std::string error;
  size_t left = 0;  // bytes of a request that is not whole
  bool operator==(const Requests&) const = default;
};

// `limits.max_inline` bounds what is kept while nobody knows how much is to come.
Requests ReadRequests(std::string_view bytes, size_t piece, const RequestParser::Limits& limits) {
  RequestParser parser(limits);
  Requests all;
  std::vector<std::string_view> argv;
  size_t begin = 0, arrived = 0;
  while (true) {
    // A block of its own each time: the parser may rely on offsets only.
    const std::string buffer(bytes.substr(begin, arrived - begin));
    const ParseResult result = parser.Parse(buffer, argv);
    switch (result.status) {
      case Status::kCommand:
        if (argv.empty()) std::abort();
        if (!limits.authenticated && buffer[0] == '*' && argv.size() > 10) std::abort();
        all.commands.emplace_back(argv.begin(), argv.end());
        [[fallthrough]];
      case Status::kEmpty:
        if (result.consumed == 0 || result.consumed > buffer.size()) std::abort();
        begin += result.consumed;
        continue;
      case Status::kError:
        all.error = result.error;
        if (!all.error.starts_with("Protocol error: ")) std::abort();
        return all;
      case Status::kNeedMore:
        break;
    }
    if (parser.needed_hint() > limits.max_bulk + 2) std::abort();
    if (parser.needed_hint() == 0 && buffer[0] != '*' && buffer.size() > limits.max_inline) std::abort();
    if (arrived == bytes.size()) {
      all.left = bytes.size() - begin;
      return all;
    }
    arrived = std::min(bytes.size(), arrived + piece);
  }
}

void CheckRequests(std::string_view bytes) {
  RequestParser::Limits limits;
  limits.authenticated = bytes.size() % 4 != 0;
  const Requests whole = ReadRequests(bytes, bytes.size() + 1, limits);
  if (!(ReadRequests(bytes, 1, limits) == whole)) std::abort();
  if (!(ReadRequests(bytes, 2 + bytes.size() % 17, limits) == whole)) std::abort();

  std::string again;
  for (const Words& words : whole.commands) {
    again += "*" + std::to_string(words.size()) + "\r\n";
    for (const std::string& word : words) again += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  if (ReadRequests(again, again.size() + 1, {}).commands != whole.commands) std::abort();

  limits.max_inline = 20;
  limits.max_bulk = 40;
  limits.max_multibulk = 12;
  ReadRequests(bytes, 1 + bytes.size() % 7, limits);
}

struct Replies {
  std::vector<Reply> replies;
  ReplyParser::Status end;
  bool operator==(const Replies&) const = default;
};

Replies ReadReplies(std::string_view bytes, size_t piece) {
  ReplyParser parser;
  Replies all;
  size_t begin = 0, arrived = 0;
  while (true) {
    const std::string buffer(bytes.substr(begin, arrived - begin));
    size_t consumed = 0;
    Reply reply;
    all.end = parser.Parse(buffer, consumed, reply);
    if (consumed > buffer.size()) std::abort();
    begin += consumed;
    if (all.end == ReplyParser::Status::kError) return all;
    if (all.end == ReplyParser::Status::kReply) {
      all.replies.push_back(std::move(reply));
    } else if (arrived == bytes.size()) {
      return all;
    } else {
      arrived = std::min(bytes.size(), arrived + piece);
    }
  }
}

}  // namespace

std::vector<std::string> FuzzCorpus() {
  return {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nv\r\n\r\n\r\n*1\r\n$4\r\nPING\r\n",
          "set k \"a \\x41\\n b\" 'c\\'d'\r\n\r\nPING\n*0\r\n*-1\r\nget k\r\n",
          "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*01\r\n$+4\r\nPING\r\n*1\r\n$-1\r\n",
          "*12\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\nc\r\n$1\r\n3\r\n",
          "*2147483647\r\n$536870912\r\n", "*9223372036854775807\r\n$16385\r\n", "*1\r\n$9223372036854775807\r\nx",
          "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
          "+OK\r\n-ERR no\r\n:12\r\n$3\r\nabc\r\n$-1\r\n*-1\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n",
          "%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n#t\r\n>2\r\n+m\r\n_\r\n,1.5\r\n(123456789012345678901\r\n=7\r\ntxt:abc\r\n!5\r\nE bad\r\n",
          "|1\r\n+ttl\r\n:3\r\n*0\r\n%0\r\n*1\r\n*1\r\n*1\r\n*1\r\n+deep\r\n", "*2147483647\r\n$4294967296\r\n"};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  CheckRequests(bytes);
  const Replies whole = ReadReplies(bytes, size + 1);
  if (!(ReadReplies(bytes, 1) == whole) || !(ReadReplies(bytes, 2 + size % 13) == whole)) std::abort();
  for (const Reply& reply : whole.replies) (void)reply.DebugText();
  return 0;
}
