//! The colors of text, axes and data on a light and on a dark surface: the one table for figures and for the window.

use serde::Serialize;

/// A color by its role; each surface has its own shade of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Color {
    /// One per run, model or layer.
    Series(usize),
    /// Numbers and marks that stand out.
    Text,
    /// What is in the background.
    Weak,
    /// A position on the heat scale, 0 to 1.
    Heat(f32),
}

/// The colors of one surface, as 0xRRGGBB.
#[derive(Clone, Copy, Debug)]
pub struct SurfaceColors {
    /// Behind everything.
    pub paper: u32,
    /// Text.
    pub text: u32,
    /// Captions and units.
    pub weak: u32,
    /// Grid lines.
    pub grid: u32,
    /// One per series; told apart by people with any color vision (Okabe and Ito).
    pub series: [u32; 6],
    /// Stops of the heat scale, from nothing to most; lightness rises or falls steadily.
    pub heat: [u32; 5],
}

/// Light: the window by day, and paper.
pub const LIGHT: SurfaceColors = SurfaceColors {
    paper: 0xFF_FF_FF,
    text: 0x1B_25_30,
    weak: 0x5C_68_75,
    grid: 0xC2_CB_D4,
    series: [0x00_72_B2, 0xD5_5E_00, 0x00_9E_73, 0xB8_65_9A, 0xC9_8A_00, 0x3D_9B_D4],
    heat: [0xF7_F9_FB, 0xBE_DB_E6, 0x61_AA_C5, 0x1D_67_99, 0x0D_27_54],
};

/// Dark: the window at night, and slides.
pub const DARK: SurfaceColors = SurfaceColors {
    paper: 0x1A_20_27,
    text: 0xDF_E5_EB,
    weak: 0x93_A0_AD,
    grid: 0x41_4C_57,
    series: [0x56_B4_E9, 0xEC_8B_45, 0x1F_C0_8F, 0xD9_93_BE, 0xE6_C0_3C, 0x8F_A8_FF],
    heat: [0x18_1E_28, 0x1C_42_68, 0x1D_7B_92, 0x6F_BB_8C, 0xF6_E9_92],
};

impl SurfaceColors {
    /// A color as SVG writes it.
    pub(crate) fn hex(&self, color: Color) -> String {
        let rgb = match color {
            Color::Series(n) => self.series[n % self.series.len()],
            Color::Text => self.text,
            Color::Weak => self.weak,
            Color::Heat(t) => self.heat_at(t),
        };
        hex(rgb)
    }

    /// The heat scale at `t`, clamped to 0..=1.
    pub fn heat_at(&self, t: f32) -> u32 {
        let at = t.clamp(0.0, 1.0) * (self.heat.len() - 1) as f32;
        let i = (at as usize).min(self.heat.len() - 2);
        let mix = |shift: u32| {
            let part = |rgb: u32| ((rgb >> shift) & 0xFF) as f32;
            let (a, b) = (part(self.heat[i]), part(self.heat[i + 1]));
            ((a + (b - a) * (at - i as f32)).round() as u32) << shift
        };
        mix(16) | mix(8) | mix(0)
    }
}

pub(crate) fn hex(rgb: u32) -> String {
    format!("#{rgb:06x}")
}
