// When somebody speaks in a recording, and how loud the speech and the noise around it are.
#pragma once

#include <optional>
#include <span>
#include <vector>

namespace desta::datagen {

struct SpeechActivity {
  std::vector<bool> active;   // one for every 10 ms
  double speech_seconds = 0;  // active time; rests shorter than 0.4 s between words count as speech
  double snr_db = 0;          // -10 to 60; 60 also stands for "no noise to be heard"
};

// Frame levels (20 ms every 10 ms) of the band from 200 to 3800 Hz are compared with a threshold
// between the noise floor and the loud frames (5th and 95th percentile of the smoothed levels):
// 40 % of the way up in dB, but 3 to 30 dB below the loud frames. Runs shorter than
// 50 ms are dropped and gaps shorter than 0.4 s closed.
//
// The SNR is of the kind of NIST's stnr: the noise power is the mean of the quietest frames (140 ms
// or a twentieth of the time, unfiltered, smoothed over 90 ms, the bias of a minimum corrected),
// the speech power that of the active frames less the noise.
//
// Absent for less than 0.3 s of sound and for silence (below -90 dBFS throughout).
[[nodiscard]] std::optional<SpeechActivity> speech_activity(std::span<const float> samples,
                                                            int sample_rate);

}  // namespace desta::datagen
