//! JSON (RFC 8259) in one pass over one text, without an allocation.
//!
//! The scanner hands out slices of the text: no tree, no copies, members in the order of the text. It accepts exactly
//! what is JSON in UTF-8, nested at most [`DEPTH_MAX`] deep, so that a text which was walked to [`Scanner::finish`]
//! without an error is whole. Each call is O(bytes that it passes).

/// Deepest nesting of arrays and objects in a value that is skipped: one bit each in a word.
pub const DEPTH_MAX: u32 = 64;

/// Why a text is no JSON. Holds the index of the byte where it stops being so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text ends inside a value.
    #[error("the text ends inside a value")]
    Ended,
    /// Another byte than the grammar allows.
    #[error("no JSON at byte {0}")]
    Unexpected(usize),
    /// A value nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} at byte {0}")]
    TooDeep(usize),
    /// No UTF-8 text.
    #[error("no UTF-8 at byte {0}")]
    NotUtf8(usize),
}

/// A string between its quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The string's bytes where it holds no escape.
    #[inline]
    #[must_use]
    pub fn plain(self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.raw)
    }

    /// The string's bytes, unescaped into `scratch` where needed; `None` when they do not fit it then.
    #[inline]
    #[must_use]
    pub fn bytes<'b>(self, scratch: &'b mut [u8]) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        if self.escaped { unescape(self.raw, scratch) } else { Some(self.raw) }
    }
}

/// A value of a member or an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Value<'a> {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(&'a [u8]),
    /// A string.
    Text(Text<'a>),
    /// An object or an array, which was skipped.
    Nested,
}

/// A place in a text. Every call begins by passing white space.
#[derive(Clone, Copy, Debug)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `text`.
    ///
    /// # Errors
    /// [`JsonError::NotUtf8`].
    pub fn new(text: &'a [u8]) -> Result<Self, JsonError> {
        match std::str::from_utf8(text) {
            Ok(_) => Ok(Self { text, at: 0 }),
            Err(error) => Err(JsonError::NotUtf8(error.valid_up_to())),
        }
    }

    /// Index of the next byte.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The text from the next byte on.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// Passes `bytes` bytes that the caller has looked at in [`Scanner::rest`]: whole tokens.
    #[inline]
    pub fn pass(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The next byte that is no white space; it stays.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Passes `byte` if it comes next.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Passes `byte`.
    ///
    /// # Errors
    /// When another comes next.
    #[inline]
    pub fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Passes what separates the elements of an array or the members of an object; false at its end `close`, which is
    /// passed. `first` says that none has come yet; it is cleared.
    ///
    /// # Errors
    /// When neither comes next.
    #[inline]
    pub fn more(&mut self, close: u8, first: &mut bool) -> Result<bool, JsonError> {
        if self.take(close) {
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// The key of the next member and its colon; `None` at the end of the object. See [`Scanner::more`].
    ///
    /// # Errors
    /// When neither comes next.
    #[inline]
    pub fn key(&mut self, first: &mut bool) -> Result<Option<Text<'a>>, JsonError> {
        if !self.more(b'}', first)? {
            return Ok(None);
        }
        if let Some([b'"', letter, b'"', b':']) = self.rest().first_chunk::<4>()
            && letter.is_ascii_alphabetic()
        {
            // Most keys of market data.
            let raw = &self.text[self.at + 1..self.at + 2];
            self.at += 4;
            return Ok(Some(Text { raw, escaped: false }));
        }
        let key = self.string()?;
        self.expect(b':')?;
        Ok(Some(key))
    }

    /// A string.
    ///
    /// # Errors
    /// When something else comes next, or it is malformed.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, JsonError> {
        self.expect(b'"')?;
        let from = self.at;
        let mut escaped = false;
        loop {
            self.at = special(self.text, self.at);
            match self.text.get(self.at) {
                Some(b'"') => {
                    let raw = &self.text[from..self.at];
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    let (_, bytes) = escape(&self.text[self.at..]).ok_or_else(|| self.unexpected())?;
                    self.at += bytes;
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// Any value. Objects and arrays are passed as a whole.
    ///
    /// # Errors
    /// When it is malformed or nested too deep.
    #[inline]
    pub fn value(&mut self) -> Result<Value<'a>, JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.literal(b"true", Value::Bool(true)),
            Some(b'f') => self.literal(b"false", Value::Bool(false)),
            Some(b'n') => self.literal(b"null", Value::Null),
            Some(b'{' | b'[') => self.nested().map(|()| Value::Nested),
            _ => Err(self.unexpected()),
        }
    }

    /// Nothing but white space follows.
    ///
    /// # Errors
    /// When something does.
    pub fn finish(mut self) -> Result<(), JsonError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> JsonError {
        if self.at < self.text.len() { JsonError::Unexpected(self.at) } else { JsonError::Ended }
    }

    fn literal(&mut self, word: &[u8], value: Value<'a>) -> Result<Value<'a>, JsonError> {
        let rest = &self.text[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(value);
        }
        self.at += rest.iter().zip(word).take_while(|(byte, expected)| byte == expected).count();
        Err(self.unexpected())
    }

    #[inline]
    fn number(&mut self) -> Result<&'a [u8], JsonError> {
        let from = self.at;
        self.at += usize::from(self.text[self.at] == b'-');
        let leading = self.at;
        self.digits()?;
        if self.text[leading] == b'0' && self.at > leading + 1 {
            self.at = leading + 1;
            return Err(self.unexpected());
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.text.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[from..self.at])
    }

    /// One digit or more.
    #[inline]
    fn digits(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(self.unexpected()) }
    }

    /// An object or array as a whole, without recursion.
    fn nested(&mut self) -> Result<(), JsonError> {
        // Bit i of `objects`: level i is an object.
        let (mut depth, mut objects, mut first) = (0, 0u64, true);
        loop {
            // Before a value of an array, a member of an object, the end of either, or the outermost value.
            let object = depth > 0 && objects >> (depth - 1) & 1 == 1;
            if depth > 0 && !self.more(if object { b'}' } else { b']' }, &mut first)? {
                depth -= 1;
                if depth == 0 {
                    return Ok(());
                }
                // The value that ends here is one of the level around it.
                first = false;
                continue;
            }
            if object {
                self.string()?;
                self.expect(b':')?;
            }
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if depth == DEPTH_MAX {
                        return Err(JsonError::TooDeep(self.at));
                    }
                    self.at += 1;
                    objects = objects & !(1 << depth) | u64::from(open == b'{') << depth;
                    depth += 1;
                    first = true;
                }
                _ => {
                    self.value()?;
                }
            }
        }
    }
}

const fn spread(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// Index of the first `"`, `\` or control character from `at`, or the end: eight bytes at a time.
#[inline]
fn special(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = spread(1);
    const HIGH: u64 = spread(0x80);
    // The lowest byte that is marked is right; those above it may be marked by a borrow (S. E. Anderson, "Bit Twiddling
    // Hacks", "Determine if a word has a zero byte" and "has a byte less than n").
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    while let Some(chunk) = text[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(spread(0x20)) & !word & HIGH;
        let marked = zero(word ^ spread(b'"')) | zero(word ^ spread(b'\\')) | control;
        if marked != 0 {
            return at + marked.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while text.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
        at += 1;
    }
    at
}

/// The character that an escape at the start of `text` stands for, and the bytes of the escape.
#[cold]
fn escape(text: &[u8]) -> Option<(char, usize)> {
    let simple = match text.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let high = hex(text.get(2..6)?)?;
            if !(0xd800..0xdc00).contains(&high) {
                // A low surrogate alone is no character.
                return Some((char::from_u32(high)?, 6));
            }
            let low = text.get(6..8).filter(|next| next == b"\\u").and_then(|_| hex(text.get(8..12)?))?;
            let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            return Some((char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low)?, 12));
        }
        _ => return None,
    };
    Some((simple, 2))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

#[cold]
fn unescape<'b>(raw: &[u8], scratch: &'b mut [u8]) -> Option<&'b [u8]> {
    let (mut at, mut length) = (0, 0);
    while let Some(&byte) = raw.get(at) {
        if byte == b'\\' {
            let (character, bytes) = escape(&raw[at..])?;
            let room = scratch.get_mut(length..length + character.len_utf8())?;
            length += character.encode_utf8(room).len();
            at += bytes;
        } else {
            *scratch.get_mut(length)? = byte;
            length += 1;
            at += 1;
        }
    }
    Some(&scratch[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value as Tree;

    /// Walks a whole text.
    fn walk(text: &[u8]) -> Result<(), JsonError> {
        let mut scanner = Scanner::new(text)?;
        scanner.value()?;
        scanner.finish()
    }

    fn agrees(text: &[u8], hint: &str) {
        let (ours, theirs) = (walk(text), serde_json::from_slice::<Tree>(text));
        // serde_json also refuses numbers beyond f64.
        let too_large = theirs.as_ref().is_err_and(|error| error.to_string().contains("number out of range"));
        assert!(ours.is_ok() == theirs.is_ok() || too_large, "{hint}: {:?}: {ours:?}", String::from_utf8_lossy(text));
        // Members of the outermost object, one by one, are those of the tree.
        let Ok(Tree::Object(members)) = theirs else { return };
        let mut scanner = Scanner::new(text).unwrap();
        scanner.expect(b'{').unwrap();
        let (mut first, mut seen, mut scratch) = (true, serde_json::Map::new(), vec![0; text.len()]);
        while let Some(key) = scanner.key(&mut first).unwrap() {
            let key = String::from_utf8(key.bytes(&mut scratch).unwrap().to_vec()).unwrap();
            let from = {
                scanner.peek();
                scanner.position()
            };
            let value = scanner.value().unwrap();
            let tree: Tree = serde_json::from_slice(&text[from..scanner.position()]).unwrap();
            match value {
                Value::Null => assert_eq!(tree, Tree::Null),
                Value::Bool(value) => assert_eq!(tree, Tree::Bool(value)),
                Value::Number(_) => assert!(tree.is_number()),
                Value::Text(value) => assert_eq!(tree.as_str().unwrap().as_bytes(), value.bytes(&mut scratch).unwrap()),
                Value::Nested => assert!(tree.is_object() || tree.is_array()),
            }
            seen.insert(key, tree);
        }
        assert_eq!(seen, members, "{hint}");
    }

    const SAMPLES: &[&str] = &[
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"p":"61837.63","m":true,"x":null}}"#,
        r#" { "a" : [ [ "1.5" , "2" ] , [ ] , { } , [ { "b" : [ ] } ] ] , "c":-0.5e+10,"d":[1,2.0,3E-2,0,-0] } "#,
        r#"{"\u0065\n":"\ud83d\ude00 \\ \" \/ \b\f\n\r\t","é":"ü€😀","long":"0123456789abcdef0123456789abcdef\\"}"#,
        r#"[true,false,null,"",[[[[]]]],{"a":{"b":{"c":{}}}}]"#,
        r#""text""#,
        "12",
    ];

    #[test]
    fn samples_agree_with_serde_json_whole_and_cut_anywhere() {
        for sample in SAMPLES {
            for cut in 0..=sample.len() {
                agrees(&sample.as_bytes()[..cut], "cut");
            }
        }
    }

    #[test]
    fn refusals_agree_with_serde_json() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1 2]",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "nul",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"a\tb\"",
            "\"\u{7f}\"",
            "1 1",
            "[}",
            "{]",
            "{1:2}",
            "NaN",
            "[-]",
            "--1",
            "\"\\u00e9\"",
        ] {
            agrees(text.as_bytes(), "refusal");
        }
        assert_eq!(walk(b"\"\xff\""), Err(JsonError::NotUtf8(1)));
        assert_eq!(walk(b"[1"), Err(JsonError::Ended));
        assert_eq!(walk(b"[1x"), Err(JsonError::Unexpected(2)));
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(walk(&deep(DEPTH_MAX as usize)), Ok(()));
        assert_eq!(walk(&deep(DEPTH_MAX as usize + 1)), Err(JsonError::TooDeep(64)));
        assert_eq!(walk(&vec![b'['; 1 << 20]), Err(JsonError::TooDeep(64)));
    }

    #[test]
    fn mutated_samples_agree_with_serde_json() {
        for seed in 0..60_000u64 {
            let mut state = seed;
            let mut below = |bound: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % bound
            };
            let mut text = SAMPLES[below(SAMPLES.len())].as_bytes().to_vec();
            for _ in 0..=below(3) {
                let at = below(text.len().max(1));
                let byte = if below(2) == 0 { b"{}[]\",:\\0-.eu1 "[below(15)] } else { below(256) as u8 };
                match below(3) {
                    0 if at < text.len() => text[at] = byte,
                    1 if at < text.len() => drop(text.remove(at)),
                    _ => text.insert(at, byte),
                }
            }
            agrees(&text, &format!("seed {seed}"));
        }
    }

    #[test]
    fn special_bytes_are_found_at_every_place() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=255u8 {
                    let mut text = vec![b'x'; length];
                    text[at] = byte;
                    let naive = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(length);
                    assert_eq!(special(&text, 0), naive, "byte {byte} at {at} of {length}");
                }
            }
        }
    }
}
