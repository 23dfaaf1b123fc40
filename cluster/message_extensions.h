// The extensions behind the gossip of a ping, pong or meet. Private to cluster/message*.cc.
#pragma once

#include "cluster/message.h"
#include "cluster/message_fields.h"

namespace tessera::cluster {

void WriteExtensions(FieldWriter& w, const Extensions& e);
size_t CountExtensions(const Extensions& e);
// One of them; what is wrong with it is the message's error.
void ReadExtension(FieldReader& message, Extensions& e);

}  // namespace tessera::cluster
