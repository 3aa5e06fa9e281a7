//! The colors of figures, for a light and a dark surface.
//! Knows nothing of what they are used for. The window's theme has the same; a test holds them equal.

use super::chart::Ink;

/// The colors of one surface, as 0xRRGGBB.
#[derive(Clone, Copy, Debug)]
pub struct Inks {
    /// Behind everything.
    pub paper: u32,
    /// Text and axes.
    pub text: u32,
    /// Captions.
    pub weak: u32,
    /// Lines of the grid.
    pub grid: u32,
    /// One a series; told apart by people with any color vision (Okabe and Ito).
    pub series: [u32; 6],
    /// Stops of the heat scale.
    pub heat: [u32; 5],
}

/// For paper.
pub const LIGHT: Inks = Inks {
    paper: 0xFF_FF_FF,
    text: 0x1B_25_30,
    weak: 0x5C_68_75,
    grid: 0xC2_CB_D4,
    series: [0x00_72_B2, 0xD5_5E_00, 0x00_9E_73, 0xB8_65_9A, 0xC9_8A_00, 0x3D_9B_D4],
    heat: [0xF7_F9_FB, 0xBE_DB_E6, 0x61_AA_C5, 0x1D_67_99, 0x0D_27_54],
};

/// For dark slides.
pub const DARK: Inks = Inks {
    paper: 0x1A_20_27,
    text: 0xDF_E5_EB,
    weak: 0x93_A0_AD,
    grid: 0x41_4C_57,
    series: [0x56_B4_E9, 0xEC_8B_45, 0x1F_C0_8F, 0xD9_93_BE, 0xE6_C0_3C, 0x8F_A8_FF],
    heat: [0x18_1E_28, 0x1C_42_68, 0x1D_7B_92, 0x6F_BB_8C, 0xF6_E9_92],
};

impl Inks {
    /// A color as SVG writes it.
    pub fn hex(&self, ink: Ink) -> String {
        let rgb = match ink {
            Ink::Series(n) => self.series[n % self.series.len()],
            Ink::Text => self.text,
            Ink::Weak => self.weak,
            Ink::Heat(t) => self.heat_at(t),
        };
        hex(rgb)
    }

    fn heat_at(&self, t: f32) -> u32 {
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

/// `#rrggbb`.
pub fn hex(rgb: u32) -> String {
    format!("#{rgb:06x}")
}
