//! Which characters a reader sees.

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Characters of the category symbol that are blank: an empty Braille cell, the object replacement character, a null
/// notehead.
const BLANK: [char; 3] = ['\u{2800}', '\u{fffc}', '\u{1d159}'];

/// Whether `c` is drawn over or around the character before it.
pub(super) fn is_mark(c: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    matches!(category, GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// Whether a reader sees `c`; a space counts, since it separates words.
pub(super) fn is_seen(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    if BLANK.contains(&c) {
        return false;
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    // `Other` is control, format, surrogate, private use and unassigned.
    let hidden = GeneralCategoryGroup::Other
        .union(GeneralCategoryGroup::LineSeparator)
        .union(GeneralCategoryGroup::ParagraphSeparator);
    !hidden.contains(category) && !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}
