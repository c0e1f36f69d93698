// How loud a programme is to the ear: EBU R 128, which is ITU-R BS.1770's K-weighting with gates.
#pragma once

#include <optional>
#include <span>

namespace desta::datagen {

// Integrated loudness [LUFS] of one channel (BS.1770-4 by libebur128: K-weighting, blocks of 400 ms
// overlapping by 75 %, an absolute gate at -70 LUFS and a relative one 10 LU below the mean). A mono
// file counts as one loudspeaker. Absent for less than 0.4 s and for what the absolute gate closes.
[[nodiscard]] std::optional<double> integrated_loudness(std::span<const float> samples,
                                                        int sample_rate);

}  // namespace desta::datagen
