#include "datagen/sentence_grammar.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>

#include "datagen/normalise_text.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace {

using Words = std::vector<std::string>;

// Slots of the templates below. An entry may be several words; articles are part of an entry
// wherever "a" or "an" would have to agree.
const std::map<std::string, Words, std::less<>>& slots() {
  static const std::map<std::string, Words, std::less<>> table = {
      {"name",
       {"Anna", "Peter", "Maria", "David", "Laura", "Thomas", "Emma", "Daniel", "Sarah", "James",
        "Julia", "Robert", "Helen", "Martin", "Alice", "George"}},
      {"person",
       {"my brother", "my sister", "my mother", "my father", "my friend", "my teacher",
        "the doctor", "the driver", "the manager", "our neighbour", "the farmer", "her uncle",
        "his aunt", "the nurse", "the old man", "the young woman", "the little girl"}},
      {"people",
       {"the children", "my parents", "our friends", "the students", "the workers", "the guests",
        "the police"}},
      {"place",
       {"the station", "the market", "the hospital", "the school", "the library", "the office",
        "the garden", "the kitchen", "the beach", "the river", "the airport", "the museum",
        "the bank", "the park", "the hotel", "the village", "the farm", "the church",
        "the bridge"}},
      {"city",
       {"London", "Paris", "Boston", "Rome", "Berlin", "Madrid", "Dublin", "Tokyo", "Chicago",
        "Vienna"}},
      {"a_thing",
       {"a book", "a letter", "an umbrella", "a ticket", "a camera", "a hat", "a bottle", "a map",
        "a chair", "a lamp", "a phone", "a guitar", "a coat", "a clock", "a box", "a newspaper",
        "a picture"}},
      {"the_thing",
       {"the book",   "the letter", "the umbrella", "the ticket", "the camera",  "the hat",
        "the bottle", "the map",    "the chair",    "the lamp",   "the phone",   "the guitar",
        "the coat",   "the clock",  "the box",      "the keys",   "the picture", "the window",
        "the door",   "the bag",    "the computer"}},
      {"things",
       {"books", "letters", "tickets", "bottles", "chairs", "boxes", "pictures", "flowers",
        "stones", "cups", "shirts", "keys"}},
      {"a_animal",
       {"a dog", "a cat", "a horse", "an elephant", "a bird", "a rabbit", "a sheep", "a fish",
        "a duck"}},
      {"animals", {"dogs", "cats", "horses", "birds", "rabbits", "sheep", "ducks", "cows"}},
      {"food",
       {"bread", "cheese", "rice", "soup", "chicken", "salad", "pasta", "cake", "fish", "butter",
        "chocolate", "meat"}},
      {"foods", {"apples", "eggs", "potatoes", "tomatoes", "bananas", "oranges", "sandwiches"}},
      {"drink", {"coffee", "tea", "milk", "water", "orange juice", "hot chocolate"}},
      {"meal", {"breakfast", "lunch", "dinner"}},
      {"number",
       {"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "twenty", "thirty"}},
      {"hour",
       {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "noon",
        "midnight", "half past two", "half past six", "half past nine", "quarter to four",
        "quarter past ten"}},
      {"day", {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}},
      {"month", {"January", "March", "April", "June", "July", "August", "December"}},
      {"past_time",
       {"yesterday", "last night", "last week", "this morning", "on Monday", "on Friday",
        "last summer", "two days ago", "an hour ago", "last month"}},
      {"future_time",
       {"tomorrow", "tonight", "next week", "next month", "on Sunday", "this evening", "in an hour",
        "in the afternoon", "next winter"}},
      {"habit",
       {"every day", "every morning", "in the evening", "on weekends", "in summer", "after work",
        "before school", "at night"}},
      {"weather", {"cold", "warm", "hot", "windy", "sunny", "cloudy", "wet", "dry"}},
      {"sky", {"rain", "snow", "wind", "thunder"}},
      {"colour", {"red", "blue", "green", "yellow", "black", "white", "brown", "grey"}},
      {"quality",
       {"big", "small", "old", "new", "heavy", "beautiful", "broken", "clean", "cheap", "expensive",
        "wonderful"}},
      {"feeling",
       {"happy", "tired", "hungry", "angry", "afraid", "bored", "ready", "busy", "sick",
        "surprised", "quiet", "late"}},
      {"transport", {"the train", "the bus", "a taxi", "the boat", "the plane"}},
      {"vehicle", {"car", "bicycle", "truck", "boat"}},
      {"job",
       {"a doctor", "a teacher", "an engineer", "a farmer", "a singer", "a lawyer", "an actor",
        "a pilot", "a cook", "a nurse"}},
      {"found",
       {"found", "lost", "bought", "sold", "broke", "forgot", "painted", "carried", "opened",
        "closed", "cleaned", "wanted", "dropped"}},
      {"find",
       {"find", "lose", "buy", "sell", "break", "forget", "paint", "carry", "open", "close",
        "clean", "bring", "drop", "fix", "take", "move"}},
      {"went", {"went", "walked", "ran", "drove", "travelled", "came"}},
      {"go", {"go", "walk", "run", "drive", "travel", "come"}},
      {"met", {"met", "called", "helped", "saw", "visited", "thanked", "asked", "remembered"}},
      {"meet", {"meet", "call", "help", "see", "visit", "thank", "ask", "remember"}},
      {"doing",
       {"sleeping", "reading", "singing", "dancing", "working", "cooking", "swimming", "waiting",
        "playing", "laughing", "talking", "writing"}},
      {"activity",
       {"read", "sing", "dance", "work", "cook", "swim", "play football", "sleep", "paint",
        "play chess", "write", "speak French", "play the piano"}},
      {"speed", {"slowly", "quickly", "carefully", "together", "alone", "again"}},
      {"subject", {"I", "you", "we", "they", "he", "she"}},
      {"object", {"me", "him", "her", "us", "them"}},
      {"owner", {"my", "your", "his", "her", "our", "their"}},
      {"modal", {"can", "will", "should", "must", "might", "could"}},
      {"where",
       {"under the table", "behind the door", "near the window", "in the kitchen", "in the car",
        "on the floor", "beside the bed", "outside the house"}},
      {"reason",
       {"because of the rain", "because it was late", "without a map", "for the first time"}},
  };
  return table;
}

constexpr auto kTemplates = std::to_array<std::string_view>({
    "{name} {found} {the_thing} {past_time}.",
    "{person} {found} {a_thing} near {place}.",
    "{name} and {name} {went} to {place} {past_time}.",
    "{person} {went} to {place} {speed}.",
    "{people} {went} to {city} {reason}.",
    "{subject} {met} {person} at {place} {past_time}.",
    "{name} {met} {name} in {city}.",
    "{person} will {meet} {object} {future_time}.",
    "{subject} {modal} {find} {the_thing} {future_time}.",
    "{name} {modal} {go} to {place} {future_time}.",
    "{subject} {modal} {meet} {person} {future_time}.",
    "can you {find} {the_thing} {future_time}?",
    "could you {find} {number} {things} please?",
    "please {find} {the_thing} {speed}.",
    "please {go} to {place} {future_time}.",
    "please {meet} {name} at {hour}.",
    "do not {find} {the_thing} {where}.",
    "did {name} {find} {the_thing} {past_time}?",
    "did {person} {go} to {city} {past_time}?",
    "did you {meet} {name} {past_time}?",
    "why did {name} {find} {the_thing}?",
    "where did {person} {find} {the_thing}?",
    "when will {name} {go} to {place}?",
    "how did {people} {go} to {city}?",
    "who {found} {the_thing} {past_time}?",
    "where is {owner} {colour} {vehicle}?",
    "is {owner} {vehicle} {colour} or {colour}?",
    "{owner} {vehicle} was {quality} and {colour}.",
    "{the_thing} was {where} {past_time}.",
    "{name} left {the_thing} {where}.",
    "there were {number} {things} {where}.",
    "there are {number} {animals} near {place}.",
    "we saw {number} {animals} and {a_animal} {past_time}.",
    "{person} has {number} {animals} and {number} {things}.",
    "{name} wants {number} {foods} and some {food}.",
    "I would like some {food} and {drink}.",
    "would you like {food} or {food} for {meal}?",
    "we had {food} and {foods} for {meal} {past_time}.",
    "{person} drinks {drink} {habit}.",
    "{people} eat {food} with {foods} {habit}.",
    "the {food} was too {weather} for {name}.",
    "what will you eat for {meal} {future_time}?",
    "it was {weather} and {weather} in {city} {past_time}.",
    "it will be {weather} in {city} {future_time}.",
    "will there be {sky} in {city} {future_time}?",
    "there was a lot of {sky} in {month}.",
    "is it {weather} in {city} in {month}?",
    "the {colour} sky is {quality} {habit}.",
    "{name} was {feeling} and {feeling} {past_time}.",
    "{person} is {feeling} {habit}.",
    "are {people} {feeling} or {feeling}?",
    "why is {name} so {feeling} today?",
    "{name} is {doing} in {place}.",
    "{people} are {doing} {speed} near {place}.",
    "is {person} {doing} or {doing} today?",
    "{people} were {doing} and {doing} {past_time}.",
    "{name} can {activity} but {name} can not.",
    "{person} likes to {activity} {habit}.",
    "do {people} like to {activity} {habit}?",
    "{name} wants to {activity} with {object} {future_time}.",
    "{name} took {transport} to {city} {past_time}.",
    "{transport} to {city} leaves at {hour}.",
    "when does {transport} leave for {city}?",
    "is {transport} to {city} late again?",
    "we should take {transport} to {place}.",
    "the meeting starts at {hour} on {day}.",
    "the shop opens at {hour} and closes at {hour}.",
    "call {name} at {hour} on {day}.",
    "wake {object} at {hour} {future_time}.",
    "{name} works as {job} in {city}.",
    "{person} wants to be {job}.",
    "is {name} {job} or {job}?",
    "{name} was {job} for {number} years.",
    "{person} paid {number} dollars for {a_thing}.",
    "how much is {a_thing} in {city}?",
    "the {colour} {vehicle} costs {number} hundred dollars.",
    "{name} gave {object} {a_thing} on {day}.",
    "give {object} {number} {things} and {a_thing}.",
    "show {object} the way to {place}.",
    "please put {number} {things} {where}.",
    "{name} bought {a_animal} in {month}.",
    "{a_animal} was {doing} {where}.",
    "{subject} {met} {number} people in {city} {past_time}.",
    "every {day} {person} {went} to {place}.",
    "on {day}, {name} {found} {a_thing}.",
    "{name}, please {find} {the_thing}.",
    "what is {where}, {name}?",
    "{name} is {number} years old today.",
    "{the_thing} and {the_thing} were {where}.",
    "{people} will {go} to {city} in {month}.",
});

constexpr std::size_t kMinimumWords = 3;
constexpr std::size_t kMaximumWords = 11;

// Fills a template. An entry is never used twice in a sentence ("Anna met Anna").
std::string fill(std::string_view text, runtime::Random& random) {
  std::string sentence;
  std::vector<const std::string*> used;
  while (!text.empty()) {
    const std::size_t open = text.find('{');
    sentence += text.substr(0, open);
    if (open == std::string_view::npos) {
      break;
    }
    const std::size_t close = text.find('}', open);
    const Words& entries = slots().find(text.substr(open + 1, close - open - 1))->second;
    const std::string* entry = &random.pick(entries);
    const auto is_used = [&] {
      for (const std::string* other : used) {
        if (*other == *entry) {
          return true;
        }
      }
      return false;
    };
    while (is_used()) {
      entry = &random.pick(entries);
    }
    used.push_back(entry);
    sentence += *entry;
    text.remove_prefix(close + 1);
  }
  sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
  return sentence;
}

std::size_t count_words(std::string_view normalised) {
  std::size_t words = normalised.empty() ? 0 : 1;
  for (const char c : normalised) {
    words += c == ' ' ? 1 : 0;
  }
  return words;
}

void collect_words(std::string_view text, std::set<std::string>& words) {
  std::string word;
  bool in_slot = false;
  for (const char c : text) {
    in_slot = c == '{' || (in_slot && c != '}');
    const bool letter = !in_slot && std::isalpha(static_cast<unsigned char>(c)) != 0;
    if (letter) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!word.empty()) {
      words.insert(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) {
    words.insert(std::move(word));
  }
}

// Templates are drawn in proportion to how many sentences they make, up to a cap: so a template
// with few does not repeat itself, and one with very many does not crowd out the rest.
const std::vector<double>& cumulative_weights() {
  static const std::vector<double> sums = [] {
    constexpr double kCap = 20000;
    std::vector<double> result;
    double sum = 0;
    for (std::string_view text : kTemplates) {
      double sentences = 1;
      for (std::size_t open = text.find('{'); open != std::string_view::npos;
           open = text.find('{', open + 1)) {
        const std::size_t close = text.find('}', open);
        const std::string_view slot = text.substr(open + 1, close - open - 1);
        sentences *= static_cast<double>(slots().find(slot)->second.size());
      }
      sum += std::min(sentences, kCap);
      result.push_back(sum);
    }
    return result;
  }();
  return sums;
}

std::string_view draw_template(runtime::Random& random) {
  const std::vector<double>& sums = cumulative_weights();
  const auto drawn = std::upper_bound(sums.begin(), sums.end(), random.uniform(0, sums.back()));
  return kTemplates[static_cast<std::size_t>(drawn - sums.begin())];
}

}  // namespace

std::string_view name_of(Split split) { return split == Split::kTrain ? "train" : "held-out"; }

Split split_of(std::string_view sentence) {
  return runtime::hash64(normalise_text(sentence)) % 10 == 0 ? Split::kHeldOut : Split::kTrain;
}

std::string make_sentence(runtime::Random& random, Split split) {
  constexpr int kMaximumDraws = 100000;  // one draw in ten is held out: this is never reached
  for (int draw = 0; draw < kMaximumDraws; ++draw) {
    std::string sentence = fill(draw_template(random), random);
    const std::string normalised = normalise_text(sentence);
    const std::size_t words = count_words(normalised);
    if (words >= kMinimumWords && words <= kMaximumWords && split_of(normalised) == split) {
      return sentence;
    }
  }
  throw runtime::InternalError("the sentence grammar found no {} sentence in {} draws",
                               name_of(split), kMaximumDraws);
}

const std::vector<std::string>& vocabulary() {
  static const Words words = [] {
    std::set<std::string> unique;
    for (const auto& [slot, entries] : slots()) {
      for (const std::string& entry : entries) {
        collect_words(entry, unique);
      }
    }
    for (const std::string_view text : kTemplates) {
      collect_words(text, unique);
    }
    return Words(unique.begin(), unique.end());
  }();
  return words;
}

}  // namespace desta::datagen
