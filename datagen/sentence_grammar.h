// A small grammar of everyday English: statements, questions and requests of 3 to 11 words over a
// closed vocabulary, with millions of sentences. It gives synthetic speech something to say and
// splits what can be said into sentences to learn from and sentences to be tested on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/core/random.h"

namespace desta::datagen {

enum class Split { kTrain, kHeldOut };

[[nodiscard]] std::string_view name_of(Split split);  // "train" or "held-out"

// A sentence belongs to the held-out split when hash64(its normalised text) % 10 == 0: about one
// in ten, decided by the words alone, whoever draws it. Normalised: lower case, words parted by
// one space, no punctuation.
[[nodiscard]] Split split_of(std::string_view sentence);

// A random sentence of `split`: capitalised, 3 to 11 words, ending in "." or "?", without
// apostrophes, hyphens or digits. Commas are rare.
[[nodiscard]] std::string make_sentence(runtime::Random& random, Split split);

// Every word that a sentence may hold, lower case, sorted.
[[nodiscard]] const std::vector<std::string>& vocabulary();

}  // namespace desta::datagen
