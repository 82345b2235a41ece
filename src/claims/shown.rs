//! Text that a person reads before approving: without characters that are invisible or reorder their neighbours.
//!
//! A right-to-left override shows an account in another order than the bank reads it, a zero-width space makes two
//! creditors look alike (Unicode Technical Report 36 §2, "Trojan Source"). The signed text must be the displayed text.

use super::visible::{is_mark, is_seen};
use super::words::{WordError, word};

word!(
    /// 1 to 255 visible characters with a letter or a digit among them: no control, format or default-ignorable
    /// characters (bidirectional controls, zero-width characters, tags, variation selectors), no line or paragraph
    /// separators, no private or unassigned characters, no blank symbols. At most four combining marks in a row.
    ShownText, check_shown
);

const MAX_SHOWN: usize = 255;

/// Combining marks on one letter; more hide its neighbours (Unicode Technical Standard 39 §5.4).
const MAX_MARKS: usize = 4;

fn check_shown(text: &str) -> Result<(), WordError> {
    let expected = "a text of 1 to 255 visible characters";
    if text.chars().nth(MAX_SHOWN).is_some() {
        return Err(WordError::new(expected, "a longer text"));
    }
    if let Some((place, unseen)) = text.chars().enumerate().find(|(_, c)| !is_seen(*c)) {
        let found = format!("U+{:04X} as character {}, which is not visible", u32::from(unseen), place + 1);
        return Err(WordError::new(expected, found));
    }
    if !text.chars().any(char::is_alphanumeric) {
        return Err(WordError::new(expected, "no letter and no digit"));
    }
    let mut marks = 0;
    for c in text.chars() {
        marks = if is_mark(c) { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            return Err(WordError::new(expected, "more than four marks on one letter"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use icu_properties::CodePointSetData;
    use icu_properties::props::BidiControl;

    #[test]
    fn invisible_characters_are_refused_at_every_position() {
        let ranges = [
            0x200B..=0x200F,   // zero-width spaces and joiners, marks of direction
            0x202A..=0x202E,   // embeddings and overrides
            0x2060..=0x206F,   // word joiner, invisible operators, isolates, deprecated format characters
            0x2028..=0x2029,   // separators of lines and paragraphs
            0xFE00..=0xFE0F,   // variation selectors
            0xE0000..=0xE0FFF, // tags and more variation selectors, assigned or not
            0xE000..=0xE001,   // private use
        ];
        let single = [
            0xFEFF, 0xAD, 0x61C, 0x180E, 0x115F, 0x3164, 0xFFA0, 0x34F, 0x0, 0x9, 0xA, 0x7F, 0x85, 0xFFF9,
            0xFFFF, 0x378, 0x2800, 0xFFFC, 0x1D159,
        ];
        for code in ranges.into_iter().flatten().chain(single) {
            let c = char::from_u32(code).unwrap();
            for text in [format!("{c}"), format!("Merchant{c} A"), format!("Merchant A{c}")] {
                let error = text.parse::<ShownText>().unwrap_err().to_string();
                assert!(error.contains(&format!("found U+{code:04X} as character")), "{error}");
            }
        }
    }

    #[test]
    fn every_bidirectional_control_of_unicode_is_refused() {
        let controls = CodePointSetData::new::<BidiControl>();
        let all: Vec<char> = ('\0'..=char::MAX).filter(|c| controls.contains(*c)).collect();
        assert!(all.len() >= 12, "{all:?}");
        assert!(all.into_iter().all(|c| !is_seen(c)));
    }

    #[test]
    fn names_in_every_script_are_texts() {
        for good in [
            "Merchant A",
            "M\u{fc}ller & S\u{f6}hne GmbH",
            "\u{10c}e\u{161}ka",
            "e\u{301}",
            "\u{645}\u{62d}\u{645}\u{62f}",
            "\u{5d9}\u{5e9}\u{5e8}\u{5d0}\u{5dc}",
            "\u{682a}\u{5f0f}\u{4f1a}\u{793e}",
            "\u{915}\u{94d}\u{937}",
            "\u{1f600} 7",
            "a\u{301}\u{302}\u{303}\u{304}",
            "\u{5e9}\u{5bc}\u{5c1}\u{5b8}\u{591}",
            "a\u{a0}b",
            "\u{1ee4}na-\u{1e62}\u{f9}\u{f9}",
            "100 \u{20ac}",
        ] {
            assert!(good.parse::<ShownText>().is_ok(), "{good}");
        }
    }

    #[test]
    fn a_text_that_shows_nothing_or_too_much_is_refused() {
        let zalgo = format!("a{}", "\u{301}".repeat(5));
        for bad in ["", " ", "\u{a0}\u{3000} ", "\u{1f600}", "-", "\u{301}", &zalgo, &"x".repeat(256)] {
            assert!(bad.parse::<ShownText>().is_err(), "{bad:?}");
        }
        assert!("\u{fc}".repeat(255).parse::<ShownText>().is_ok());
    }
}
