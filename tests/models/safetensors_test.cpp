#include "models/safetensors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <fstream>

#include "model_fixtures.h"

namespace desta::models {
namespace {

// The bytes of a file with this header and so many bytes of data.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t size = header.size();
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes + header + std::string(data_bytes, '\0');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}

TEST(Safetensors, GivesBackWhatWasSaved) {
  const ScratchFolder folder;
  const TensorMap saved = {{"a", at::randn({3, 5})},
                           {"b", at::randn({7}).to(at::kBFloat16)},
                           {"c", at::randn({2, 1, 3}).to(at::kHalf)},
                           {"empty", at::zeros({0, 4})},
                           {"ids", at::arange(5, at::kLong)},
                           {"scalar", at::tensor(2.5F).squeeze()},
                           {"strided", at::randn({4, 6}).transpose(0, 1)}};
  save_safetensors(folder.path() / "x.safetensors", saved, {{"format", "pt"}});
  const TensorMap loaded = load_safetensors(folder.path() / "x.safetensors");
  ASSERT_EQ(loaded.size(), saved.size());
  for (const auto& [name, tensor] : saved) {
    EXPECT_TRUE(same_bits(loaded.at(name), tensor)) << name;
  }
  EXPECT_EQ(SafetensorsFile(folder.path() / "x.safetensors").metadata().at("format"), "pt");
}

TEST(Safetensors, ReadsWhatNumpyWroteInEveryFloatType) {
  // bench/peers stored weights that all three types hold exactly.
  EXPECT_EQ(SafetensorsFile(fixture("llama-tied") / "model.safetensors")
                .tensor("model.norm.weight")
                .scalar_type(),
            at::kBFloat16);
  ModelFolder sharded(fixture("llama-untied"));
  EXPECT_EQ(sharded.get("lm_head.weight", {320, 64}).scalar_type(), at::kFloat);
  const TensorMap numbers = load_safetensors(fixture("llama-tied") / "expected.safetensors");
  EXPECT_EQ(numbers.at("tokens").scalar_type(), at::kLong);
}

TEST(Safetensors, ATensorOutlivesItsFile) {
  const ScratchFolder folder;
  const auto path = folder.path() / "x.safetensors";
  save_safetensors(path, {{"a", at::arange(6, at::kFloat)}});
  const Tensor kept = SafetensorsFile(path).tensor("a");
  std::filesystem::remove(path);
  EXPECT_TRUE(at::equal(kept, at::arange(6, at::kFloat)));
}

TEST(Safetensors, WritingIntoATensorLeavesTheFileAlone) {
  const ScratchFolder folder;
  const auto path = folder.path() / "x.safetensors";
  save_safetensors(path, {{"a", at::zeros({4})}});
  SafetensorsFile(path).tensor("a").fill_(7.0);
  EXPECT_EQ(largest(load_safetensors(path).at("a")), 0.0);
}

TEST(Safetensors, ReadsTensorsThatAreNotAligned) {
  const ScratchFolder folder;
  const std::string header =
      "{" + entry("byte", "U8", "[1]", "[0,1]") + "," + entry("w", "F32", "[2]", "[1,9]") + "}";
  std::string bytes = file_of(header, 9);
  const float values[] = {1.5F, -2.25F};
  std::memcpy(bytes.data() + bytes.size() - sizeof(values), values, sizeof(values));
  const auto path = folder.write("x.safetensors", bytes);
  EXPECT_TRUE(at::equal(SafetensorsFile(path).tensor("w"), at::tensor({1.5F, -2.25F})));
}

// Files that must be turned down; the message names the file and holds `says`.
struct BadFile {
  std::string name;
  std::string bytes;
  std::string says;
};

void PrintTo(const BadFile& bad, std::ostream* out) { *out << bad.name; }

class DamagedSafetensors : public testing::TestWithParam<BadFile> {};

TEST_P(DamagedSafetensors, IsAModelErrorThatNamesTheFile) {
  const ScratchFolder folder;
  const auto path = folder.write("model.safetensors", GetParam().bytes);
  expect_model_error([&] { SafetensorsFile file(path); }, {path.string(), GetParam().says});
}

std::string header_length(std::uint64_t size) {
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes;
}

INSTANTIATE_TEST_SUITE_P(
    Cases, DamagedSafetensors,
    testing::Values(
        BadFile{"Empty", "", "too few"}, BadFile{"OnlyFiveBytes", "12345", "too few"},
        BadFile{"HeaderLongerThanTheFile", header_length(100) + "{}", "truncated"},
        BadFile{"HeaderLengthOverflows", header_length(~0ULL) + "{}", "truncated"},
        BadFile{"HeaderIsNotJson", file_of("{\"a\":", 0), "header is not valid"},
        BadFile{"HeaderIsANumber", file_of("7", 0), "not a JSON object"},
        BadFile{"HeaderIsAList", file_of("[1]", 0), "not a JSON object"},
        BadFile{"HeaderIsNotUtf8", file_of("{\"\xFF\":1}", 0), "header is not valid"},
        BadFile{"PickledModel", "PK\x03\x04 this is a zip file of pickles", "not a safetensors"},
        BadFile{"DataIsCutOff", file_of("{" + entry("w", "F32", "[4]", "[0,16]") + "}", 12), "'w'"},
        BadFile{"OffsetsRunBackwards", file_of("{" + entry("w", "F32", "[1]", "[8,4]") + "}", 8),
                "'w'"},
        BadFile{"OffsetsAreNegative", file_of("{" + entry("w", "F32", "[1]", "[-4,0]") + "}", 8),
                "'w'"},
        BadFile{"ThreeOffsets", file_of("{" + entry("w", "F32", "[1]", "[0,4,8]") + "}", 8), "'w'"},
        BadFile{"OffsetsAreText", file_of("{" + entry("w", "F32", "[1]", "\"x\"") + "}", 8), "'w'"},
        BadFile{"TensorsOverlap",
                file_of("{" + entry("v", "F32", "[2]", "[0,8]") + "," +
                            entry("w", "F32", "[2]", "[4,12]") + "}",
                        12),
                "overlap"},
        BadFile{"ShapeDoesNotFitTheBytes",
                file_of("{" + entry("w", "F32", "[2,3]", "[0,16]") + "}", 16), "'w'"},
        BadFile{"ShapeIsNegative", file_of("{" + entry("w", "F32", "[-1]", "[0,4]") + "}", 4),
                "'w'"},
        BadFile{"ShapeOverflows",
                file_of("{" + entry("w", "F32", "[4611686018427387904,4]", "[0,0]") + "}", 0),
                "'w'"},
        BadFile{"UnknownType", file_of("{" + entry("w", "F8_E4M3", "[4]", "[0,4]") + "}", 4),
                "F8_E4M3"},
        BadFile{"NoShape", file_of(R"({"w":{"dtype":"F32","data_offsets":[0,4]}})", 4), "'w'"},
        BadFile{"EntryIsANumber", file_of(R"({"w":3})", 4), "'w'"}),
    [](const auto& info) { return info.param.name; });

TEST(SafetensorsFile, NamesAFileThatIsMissingOrNoFile) {
  const ScratchFolder folder;
  const auto missing = folder.path() / "none.safetensors";
  expect_model_error([&] { SafetensorsFile file(missing); }, {missing.string(), "No such file"});
  expect_model_error([&] { SafetensorsFile file(folder.path()); }, {folder.path().string()});
}

TEST(SafetensorsFile, NamesFileAndTensorThatIsMissing) {
  const auto path = fixture("llama-tied") / "model.safetensors";
  const SafetensorsFile file(path);
  expect_model_error([&] { (void)file.tensor("lm_head.weight"); },
                     {path.string(), "lm_head.weight"});
}

TEST(ModelFolder, ReadsTheShardsOfAnIndex) {
  ModelFolder folder(fixture("llama-untied"));
  for (const auto* name : {"lm_head.weight", "model.embed_tokens.weight"}) {
    EXPECT_TRUE(folder.contains(name));
    EXPECT_EQ(folder.get(name, {320, 64}).sizes(), (at::IntArrayRef{320, 64}));
  }
  EXPECT_EQ(folder.loaded().size(), 2U);
}

TEST(ModelFingerprint, IsTheModelsAndNotTheFolders) {
  const ScratchFolder one;
  const ScratchFolder two;
  for (const auto* folder : {&one, &two}) {
    std::ofstream(folder->path() / "config.json") << "{}";
    save_safetensors(folder->path() / "model.safetensors", {{"w", at::ones({64, 64})}});
  }
  const std::string print = model_fingerprint(one.path());
  EXPECT_EQ(print.size(), 16u);
  EXPECT_EQ(model_fingerprint(two.path()), print);
  save_safetensors(two.path() / "model.safetensors", {{"w", at::zeros({64, 64})}});
  EXPECT_NE(model_fingerprint(two.path()), print) << "other weights";
  std::ofstream(one.path() / "config.json") << "{ }";
  EXPECT_NE(model_fingerprint(one.path()), print) << "another configuration";
  std::filesystem::remove(one.path() / "model.safetensors");
  EXPECT_THROW(static_cast<void>(model_fingerprint(one.path())), runtime::ModelError);
}

TEST(ModelFolder, NamesATensorThatIsMissingOrOfAnotherShape) {
  ModelFolder folder(fixture("llama-tied"));
  expect_model_error(
      [&] {
        (void)folder.get("lm_head.weight", {320, 64});
      },
      {fixture("llama-tied").string(), "lm_head.weight"});
  expect_model_error([&] { (void)folder.get("model.norm.weight", {65}); },
                     {"model.safetensors", "model.norm.weight", "[64]", "[65]"});
}

TEST(ModelFolder, RefusesIntegerWeights) {
  const ScratchFolder scratch;
  save_safetensors(scratch.path() / "model.safetensors", {{"w", at::arange(4, at::kLong)}});
  ModelFolder folder(scratch.path());
  expect_model_error([&] { (void)folder.get("w", {4}); }, {"model.safetensors", "'w'", "floating"});
}

TEST(ModelFolder, NamesWhatAFolderLacks) {
  const ScratchFolder folder;
  expect_model_error([&] { ModelFolder model(folder.path()); },
                     {folder.path().string(), "model.safetensors.index.json"});
  const auto index = folder.write("model.safetensors.index.json",
                                  R"({"weight_map":{"w":"model-00001.safetensors"}})");
  expect_model_error([&] { ModelFolder model(folder.path()); }, {"model-00001.safetensors"});
  save_safetensors(folder.path() / "model-00001.safetensors", {{"v", at::zeros({4})}});
  ModelFolder model(folder.path());
  expect_model_error([&] { (void)model.get("w", {4}); }, {"model-00001.safetensors", "'w'"});
  for (const char* bad :
       {"{", "{}", "[]", R"({"weight_map":{"w":3}})", R"({"weight_map":[["w"]]})"}) {
    std::filesystem::remove(index);
    folder.write("model.safetensors.index.json", bad);
    expect_model_error([&] { ModelFolder again(folder.path()); }, {index.string(), "index"});
  }
}

TEST(SaveSafetensors, SaysThatTheDiskIsFull) {
  const ScratchFolder folder;
  // A limit of the file's size fails writes as a full disk does.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit tight = before;
  tight.rlim_cur = 64 * 1024;
  setrlimit(RLIMIT_FSIZE, &tight);
  std::string message;
  try {
    save_safetensors(folder.path() / "adapter.safetensors", {{"w", at::zeros({1 << 18})}});
  } catch (const runtime::InternalError& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_DFL);
  EXPECT_NE(message.find("adapter.safetensors"), std::string::npos) << message;
  EXPECT_NE(message.find("space"), std::string::npos) << message;
}

}  // namespace
}  // namespace desta::models
