// How the nodes speak of shared objects: by calls of their agents. Private to this folder.
//
// A value comes to a node that wants it in the cheapest way there is. A small one comes in a
// message from its owner. A large one is mapped where a process of the same host has it: the owner,
// or, on a host without the owner, the first living node of the host, its keeper, which fetches it
// once for all.
#pragma once

#include <cstdint>

#include "runtime/actor/object_store.h"

namespace desta::runtime::detail {

class NodeCore;

// An object's value, or where it lies. Neither: it is not here.
struct FoundObject {
  bool found = false;
  ObjectValue value;  // without its bytes and buffers where there is a segment
  SegmentAddress segment;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(found, value, segment);
  }
};

// Has the agent of another node told.
void send_notice(NodeCore& core, const ObjectNotice& notice);

}  // namespace desta::runtime::detail
