// What a room, a microphone and a distance do to clean speech, by stated amounts: level, noise and
// reverberation.
#pragma once

#include <string_view>
#include <vector>

#include "datagen/waveform.h"
#include "runtime/core/random.h"

namespace desta::datagen {

enum class NoiseKind {
  kWhite,   // equal power per Hz
  kPink,    // equal power per octave
  kHum,     // mains hum: 50 Hz and its harmonics over faint white noise
  kBabble,  // many distant talkers: speech-shaped noise that swells at syllable rate
};

[[nodiscard]] std::string_view name_of(NoiseKind kind);  // "white", "pink", "hum", "babble"

// Scales so that the active speech (ITU-T P.56, see speech_level.h) has this RMS [dBFS]. A louder
// peak than full scale is left to limit_peak. Throws DataError for a waveform without speech.
void set_level(Waveform& waveform, double speech_dbfs);

// Adds noise whose RMS lies `snr_db` below the active speech level (P.56): the SNR during speech.
// Throws DataError for a waveform without speech.
void add_noise(Waveform& waveform, double snr_db, NoiseKind kind, runtime::Random& random);

// Noise alone with an RMS of 1.
[[nodiscard]] std::vector<float> make_noise(std::size_t samples, int sample_rate, NoiseKind kind,
                                            runtime::Random& random);

// A room's impulse response with the clarity index C50 = 10 log10(E(0..50 ms) / E(50 ms..)) [dB,
// ISO 3382-1], exact by construction: Polack's model (Gaussian noise under an exponential decay)
// with the reverberation time for which a pure exponential has that C50,
//   T60 = 0.05 s * 6 ln 10 / ln(1 + 10^(C50 / 10)),
// a direct sound with the energy of the early reflections, and the part after 50 ms scaled to fit.
// Ends at T60. C50 from -10 to 60 dB; else ConfigError.
[[nodiscard]] std::vector<float> make_impulse_response(double c50_db, int sample_rate,
                                                       runtime::Random& random);

// The response from its direct sound on: from where it first comes within 20 dB of its peak (ISO
// 3382-1, 5.3.4). Throws DataError for one that is silent.
[[nodiscard]] std::vector<float> from_direct_sound(const std::vector<float>& response);

// The clarity index [dB] of an impulse response that starts with the direct sound.
[[nodiscard]] double c50_of(const std::vector<float>& response, int sample_rate);

// Convolves with make_impulse_response and keeps the RMS. The tail adds at most 0.4 s.
void add_reverberation(Waveform& waveform, double c50_db, runtime::Random& random);

// Guards against clipping as a loud recording is guarded: when a sample exceeds `peak`, samples
// above half of it are bent by tanh so that none does; else nothing is touched.
void limit_peak(Waveform& waveform, double peak = 0.99);

}  // namespace desta::datagen
