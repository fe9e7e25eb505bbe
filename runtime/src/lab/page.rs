//! Lines of a table: a label at the left, and words beside it that are broken into lines.

use crate::report::text::COLUMNS;

/// Width of the label.
const LABEL: usize = 12;

/// Appends `words` with `label` before the first line; lines are at most [`COLUMNS`] wide unless one word is longer.
pub(super) fn words(text: &mut String, label: &str, words: &str) {
    let mut line = format!("{label:<LABEL$}");
    let mut is_empty = true;
    for word in words.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(LABEL);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_lose_none() {
        let mut text = String::new();
        let long = "\u{b5}".repeat(150);
        words(&mut text, "note", &format!("{} {long} end", "word ".repeat(40)));
        words(&mut text, "", "");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS || line.contains(&long)), "{text}");
        assert!(text.lines().skip(1).all(|line| line.is_empty() || line.starts_with(&" ".repeat(LABEL))), "{text}");
        assert_eq!((text.matches("word").count(), text.matches("end\n").count()), (40, 1));
    }
}
