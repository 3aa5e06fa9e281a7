//! How wide text is, as far as that can be told without its font: an SVG is drawn with whatever font its reader has.
//! Knows nothing of figures.

/// Width of a character, of the height of text, in a sans-serif font; rather too much than too little.
fn advance(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.3,
        'm' | 'M' | 'w' | 'W' | '@' | '%' | '—' | '…' => 0.9,
        'A'..='Z' => 0.68,
        'r' | 't' | 'f' | '(' | ')' | '-' | '/' => 0.42,
        // Joiners and marks above letters.
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0.0,
        // From Hangul on: as wide as high, and pictures a little wider.
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' => 1.0,
        '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' => 1.0,
        '\u{2600}'..='\u{27bf}' | '\u{1f000}'..='\u{3ffff}' => 1.3,
        _ => 0.57,
    }
}

/// Width of a line, of the height of text.
pub(crate) fn width(text: &str) -> f64 {
    text.chars().map(advance).sum()
}

/// The text if it is no wider than `room`; otherwise what fits of its two ends, where names differ.
pub(crate) fn fit(text: &str, room: f64) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let each = (room - width("…")).max(0.0) / 2.0;
    let mut used = 0.0;
    let mut takes = |c: &char| {
        used += advance(*c);
        used <= each
    };
    let head: String = text.chars().take_while(&mut takes).collect();
    used = 0.0;
    let mut takes = |c: &char| {
        used += advance(*c);
        used <= each
    };
    let tail: Vec<char> = text.chars().rev().take_while(&mut takes).collect();
    head + "…" + &tail.into_iter().rev().collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_keeps_its_two_ends() {
        assert_eq!(fit("short", 10.0), "short");
        let cut = fit(&format!("{}tail", "a".repeat(500)), 12.0);
        assert!(
            cut.starts_with("aaa") && cut.ends_with("tail") && width(&cut) <= 12.0,
            "{cut}"
        );
        assert_eq!(fit("実験の結果", 3.0), "実…果");
        assert_eq!(fit("abc", 0.0), "…");
    }
}
