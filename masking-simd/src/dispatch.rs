//! Which level runs: asked of the CPU once, chosen once per buffer, so that the loop inside runs straight.

use std::sync::OnceLock;

use crate::cell::Cell;
use crate::scalar;

/// A way to overwrite cells. All give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Any CPU.
    Scalar,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F and BW (and BMI2, which all of them have).
    Avx512,
}

impl Level {
    /// Every level, slowest first.
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Avx512];

    /// The best level of this CPU.
    pub fn detect() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| {
            let best = Self::ALL.into_iter().rev().find(|level| level.is_available());
            best.unwrap_or(Self::Scalar)
        })
    }

    /// Whether this CPU has the level.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("bmi2")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// This level where the CPU has it, else [`Level::Scalar`].
    pub(crate) fn or_scalar(self) -> Self {
        if self.is_available() { self } else { Self::Scalar }
    }

    /// The level's name in logs and figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// Overwrites all cells of a buffer with the best level of this CPU.
///
/// # Panics
/// When a cell does not lie within the buffer; see [`apply_with`].
pub fn apply(buffer: &mut [u8], cells: &[Cell]) {
    apply_with(Level::detect(), buffer, cells);
}

/// Overwrites all cells of a buffer with one level, for tests and figures. A level that this CPU lacks runs as
/// [`Level::Scalar`].
///
/// # Panics
/// When a cell passes the end of the buffer, or a piece the end of its cell: who collected it broke a promise, and the
/// buffer must not be sent.
pub fn apply_with(level: Level, buffer: &mut [u8], cells: &[Cell]) {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if level.is_available() => {
            // SAFETY: the CPU has the features that the kernel is compiled for; nothing else is asked of the caller.
            unsafe { crate::avx512::apply(buffer, cells) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if level.is_available() => {
            // SAFETY: the CPU has the feature that the kernel is compiled for; nothing else is asked of the caller.
            unsafe { crate::avx2::apply(buffer, cells) }
        }
        _ => scalar::apply(buffer, cells),
    }
}
