//! Rust text as tokens, and those of them that are compiled without tests.

/// One token.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// A word, `::` or one other character.
    pub(crate) text: String,
    /// Where, from 1.
    pub(crate) line: usize,
}

/// Whether a path can begin with this token.
pub(crate) fn starts_path(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The tokens without items under `cfg(test)`, and the names of `mod x;` among those.
pub(crate) fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut names, mut at) = (Vec::new(), Vec::new(), 0);
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    while at < tokens.len() {
        let end = attribute_end(tokens, at);
        let words: Vec<&str> = (at..end).map(text).collect();
        let gates = words.contains(&"cfg") && words.contains(&"test") && !words.contains(&"not");
        if end > at && gates && words.get(1) == Some(&"!") {
            return (Vec::new(), names);
        } else if end > at && gates {
            let mut item = end;
            while attribute_end(tokens, item) > item {
                item = attribute_end(tokens, item);
            }
            let after = item_end(tokens, item);
            names.extend(
                (item..after)
                    .find(|i| text(*i) == "mod" && text(i + 2) == ";")
                    .map(|i| text(i + 1).to_owned()),
            );
            at = after;
        } else {
            kept.extend(tokens.get(at).cloned());
            at += 1;
        }
    }
    (kept, names)
}

/// Behind the attribute that begins at `at`; `at` itself if none does.
fn attribute_end(tokens: &[Token], at: usize) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let open = if text(at + 1) == "!" { at + 2 } else { at + 1 };
    if text(at) != "#" || text(open) != "[" {
        return at;
    }
    let mut depth = 0_usize;
    for i in open..tokens.len() {
        match text(i) {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// Behind the item that begins at `at`: its `;`, or the `}` that closes it (a `use` has braces and a `;`).
fn item_end(tokens: &[Token], at: usize) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let is_use = (at..at + 6).take_while(|i| text(*i) != "{").any(|i| text(i) == "use");
    let mut depth = 0_usize;
    for i in at..tokens.len() {
        match text(i) {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && text(i) == "}" && !is_use {
                    return i + 1;
                }
            }
            ";" if depth == 0 => return i + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Words, `::` and single other characters; no comments, no texts, no lifetimes, no numbers' insides.
pub(crate) fn tokenize(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let char_at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let begin = at;
        let c = char_at(at);
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        match c {
            '/' if char_at(at + 1) == '/' => at = find(&chars, at, |i| char_at(i) == '\n'),
            '/' if char_at(at + 1) == '*' => at = comment_end(&chars, at),
            '"' => at = string_end(&chars, at),
            '\'' => at = quote_end(&chars, at),
            c if is_word(c) => {
                at = find(&chars, at, |i| !is_word(char_at(i)));
                let word: String = chars.get(begin..at).unwrap_or_default().iter().collect();
                let raw = matches!(word.as_str(), "r" | "br" | "cr");
                let hashes = find(&chars, at, |i| char_at(i) != '#') - at;
                if raw && char_at(at + hashes) == '"' {
                    let close = |i: usize| char_at(i) == '"' && (1..=hashes).all(|n| char_at(i + n) == '#');
                    at = find(&chars, at + hashes + 1, close) + hashes + 1;
                } else if word == "r" && hashes == 1 {
                    at += 1; // r#type: the word itself follows
                } else if !(matches!(word.as_str(), "b" | "c") && matches!(char_at(at), '"' | '\'')) {
                    tokens.push(Token { text: word, line });
                }
            }
            ':' if char_at(at + 1) == ':' => {
                tokens.push(Token { text: "::".to_owned(), line });
                at += 2;
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.to_string(), line });
                }
                at += 1;
            }
        }
        line +=
            chars.get(begin..at.min(chars.len())).unwrap_or_default().iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn find(chars: &[char], from: usize, is_end: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|i| is_end(*i)).unwrap_or(chars.len())
}

fn comment_end(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0_usize, from);
    while at < chars.len() {
        match (chars.get(at), chars.get(at + 1)) {
            (Some('/'), Some('*')) => (depth, at) = (depth + 1, at + 2),
            (Some('*'), Some('/')) => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(c) = chars.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// Behind a character literal, or behind the quote of a lifetime.
fn quote_end(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), _) => find(chars, from + 3, |i| chars.get(i) == Some(&'\'')) + 1,
        (_, Some('\'')) => from + 3,
        _ => from + 1,
    }
}
